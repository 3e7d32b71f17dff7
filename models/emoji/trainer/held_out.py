"""Combinations that no training image shows, so that the evaluation can test generalisation.

`PAIRS` and `COLOURED` were chosen at random among subjects that training draws often, when the first
model was trained. The lists must not change while training continues from those weights: the weights have
never seen exactly these combinations.
"""

from .compose import COLOURS
from .fetch import Item

# Left and right subject. Training shows them in neither order (`is_held_out_pair`).
PAIRS = (
    ("rainbow", "strawberry"), ("mushroom", "hot beverage"), ("red apple", "rocket"), ("cactus", "snowman"),
    ("panda", "banana"), ("fox", "ghost"), ("camera", "sun"), ("cat face", "crab"), ("octopus", "house"),
    ("frog", "fish"), ("alien", "star"), ("red heart", "pineapple"), ("guitar", "butterfly"),
    ("robot", "skull"), ("pig face", "smiling face with sunglasses"), ("tiger", "bus"),
    ("soccer ball", "unicorn"), ("crown", "pizza"), ("elephant", "wrapped gift"), ("automobile", "lion"),
)  # fmt: skip
# Subject and background colour. Training shows them together in no kind of image.
COLOURED = (
    ("alien", "light blue"), ("crab", "purple"), ("smiling face with sunglasses", "pink"),
    ("butterfly", "yellow"), ("airplane", "grey"), ("sun", "green"), ("strawberry", "blue"),
    ("star", "grey"), ("crown", "blue"), ("guitar", "grey"), ("fish", "purple"), ("rainbow", "brown"),
    ("robot", "pink"), ("owl", "orange"), ("rose", "grey"), ("penguin", "orange"), ("turtle", "red"),
    ("castle", "grey"), ("house", "red"), ("bicycle", "brown"),
)  # fmt: skip
# The share of all pairs that training never shows, as a whole number: one in 20.
PAIRS_ONE_IN = 20


def is_held_out_pair(a: int, b: int) -> bool:
    """Whether training never shows this pair of item indices, in either order. True for 5% of all pairs."""
    low, high = sorted((a, b))
    return (low * 2654435761 + high * 40503) % (2**32) // 64 % PAIRS_ONE_IN == 0


def pair_indices(items: list[Item]) -> list[tuple[int, int]]:
    """`PAIRS` as item indices, left and right."""
    index = {i.en: i.index for i in items}
    return [(index[left], index[right]) for left, right in PAIRS]


def coloured_indices(items: list[Item]) -> list[tuple[int, int]]:
    """`COLOURED` as item index and index of the background in `COLOURS`."""
    index = {i.en: i.index for i in items}
    colours = {name: number for number, (name, *_) in enumerate(COLOURS)}
    return [(index[subject], colours[colour]) for subject, colour in COLOURED]
