"""What only the evaluation asks for: combinations that no training picture shows.

They were drawn by lot, from things that training draws often, when the first model was trained, and stay as they are:
what the weights have never seen is a fact about them that a change of the plan must not change.
Pairs are held out in either order (`captions.held_out`); things and colours are left out of every kind of picture.
"""

from .compose import COLOURS
from .fetch import Item

PAIRS = (
    ("rainbow", "strawberry"), ("mushroom", "hot beverage"), ("red apple", "rocket"), ("cactus", "snowman"),
    ("panda", "banana"), ("fox", "ghost"), ("camera", "sun"), ("cat face", "crab"), ("octopus", "house"),
    ("frog", "fish"), ("alien", "star"), ("red heart", "pineapple"), ("guitar", "butterfly"), ("robot", "skull"),
    ("pig face", "smiling face with sunglasses"), ("tiger", "bus"), ("soccer ball", "unicorn"), ("crown", "pizza"),
    ("elephant", "wrapped gift"), ("automobile", "lion"),
)  # fmt: skip
COLOURED = (
    ("alien", "light blue"), ("crab", "purple"), ("smiling face with sunglasses", "pink"), ("butterfly", "yellow"),
    ("airplane", "grey"), ("sun", "green"), ("strawberry", "blue"), ("star", "grey"), ("crown", "blue"),
    ("guitar", "grey"), ("fish", "purple"), ("rainbow", "brown"), ("robot", "pink"), ("owl", "orange"),
    ("rose", "grey"), ("penguin", "orange"), ("turtle", "red"), ("castle", "grey"), ("house", "red"),
    ("bicycle", "brown"),
)  # fmt: skip


def pairs(items: list[Item]) -> list[tuple[int, int]]:
    """Indices of the things, left and right."""
    index = {i.en: i.index for i in items}
    return [(index[left], index[right]) for left, right in PAIRS]


def coloured(items: list[Item]) -> list[tuple[int, int]]:
    """Indices of the things, and of their backgrounds in `COLOURS`."""
    index = {i.en: i.index for i in items}
    colours = {name: number for number, (name, *_) in enumerate(COLOURS)}
    return [(index[thing], colours[colour]) for thing, colour in COLOURED]
