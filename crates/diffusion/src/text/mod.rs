//! Text to conditioning.
