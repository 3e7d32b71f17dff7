"""Data, training, export and evaluation of the built-in model."""
