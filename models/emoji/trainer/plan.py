"""What is composed of the pictures: which things, where, on which background."""

import numpy as np

from . import asked, fetch
from .captions import held_out
from .compose import COLOURS, Placement, beside, single
from .fetch import Item
from .first import FIRST

# Composed pictures per item besides the plain one: mirrored, scaled and moved on white; as it is on so many colours.
# The things in first.py are shown on all colours.
VARIED, COLOURED = 1, 4
# Pairs with each item on the left, on white and on colours.
BESIDE, FIRST_BESIDE = (2, 0), (12, 4)
HELD_OUT = 64
# Not the symbols: nobody asks for one beside another.
PAIRED_GROUPS = {"smileys-emotion", "people-body", "animals-nature", "food-drink", "travel-places",
                 "activities", "objects"}  # fmt: skip
SIDED = ("left", "right")

# What to compose: placements, background, and the kind by which training draws.
Plan = list[tuple[list[Placement], int, str]]


def planned(seed: int = 3) -> Plan:
    """All that is composed; nothing of what the evaluation asks for, but for the pairs that are named `held out`."""
    rng = np.random.default_rng(seed)
    items, _ = fetch.load()
    kept = set(asked.coloured(items))
    pairable = [i for i in items if i.group in PAIRED_GROUPS]
    first = [i for i in pairable if i.en in FIRST]
    plan: Plan = []
    for item in items:
        as_it_is = single(rng, item.index, plain=True)
        plan.append((as_it_is, 0, "plain"))
        plan += [(_varied(rng, item), 0, "varied") for _ in range(VARIED)]
        colours = [c for c in range(1, len(COLOURS)) if (item.index, c) not in kept]
        count = None if item.en in FIRST else COLOURED
        plan += [(as_it_is, c, "coloured") for c in rng.permutation(colours)[:count].tolist()]
    for things, counts in ((pairable, BESIDE), (first, FIRST_BESIDE)):
        for left in things:
            plan += _pairs(rng, left, things, counts, kept)
    while sum(kind == "held out" for *_, kind in plan) < HELD_OUT:
        left, right = (pairable[i].index for i in rng.choice(len(pairable), 2, replace=False))
        if held_out(left, right):
            plan.append((beside(left, right), 0, "held out"))
    return plan


def _varied(rng: np.random.Generator, item: Item) -> list[Placement]:
    (place,) = single(rng, item.index, plain=False)
    if any(side in item.en for side in SIDED):  # mirrored, it would be the other one
        return [Placement(place.index, place.x, place.y, place.size, False)]
    return [place]


def _pairs(
    rng: np.random.Generator, left: Item, things: list[Item], counts: tuple[int, int], kept: set[tuple[int, int]]
) -> Plan:
    """Pairs of this thing on the left with others on the right: so many on white, so many on colours."""
    plan: Plan = []
    for count, backgrounds in zip(counts, ([0], range(1, len(COLOURS))), strict=True):
        options = [
            (right.index, background)
            for right in things
            if right is not left and not held_out(left.index, right.index)
            for background in backgrounds
            if kept.isdisjoint({(left.index, background), (right.index, background)})
        ]
        chosen = [options[i] for i in rng.permutation(len(options))[:count]]
        plan += [(beside(left.index, right), background, "pair") for right, background in chosen]
    return plan
