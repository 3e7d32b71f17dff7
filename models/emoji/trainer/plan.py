"""What is composed of the pictures: which things, where, on which background."""

import numpy as np

from . import fetch
from .captions import held_out
from .compose import COLOURS, Placement, apart, pair, single
from .fetch import Item
from .first import FIRST

# Composed pictures per item, besides the plain one on white.
VARIED, COLOURED, PAIRED = 2, 4, 6
# Of the things in first.py: pairs of two of them, and more pictures on each of the colours that they are shown on.
FIRST_PAIRED, FIRST_COLOURED = 18, 2
# Of everything: more colours to be shown on. Of the things in first.py all that are left, so many times.
MORE_COLOURS, FIRST_MORE = 3, 2
# Pairs with a free middle per item, on white and on colours; for the things in first.py with one another, besides.
APART, FIRST_APART = (3, 1), (12, 6)
HELD_OUT = 64
PAIRED_GROUPS = {"smileys-emotion", "people-body", "animals-nature", "food-drink", "travel-places",
                 "activities", "objects"}  # fmt: skip
SIDED = ("left", "right")

# What to compose: placements, background, and the kind by which training draws.
Plan = list[tuple[list[Placement], int, str]]


def _one(rng: np.random.Generator, item: Item) -> list[Placement]:
    place = single(rng, item.index, plain=False)
    if any(side in item.en for side in SIDED):  # mirrored, it would be the other one
        place = [Placement(p.index, p.x, p.y, p.size, False) for p in place]
    return place


def planned(seed: int = 3) -> Plan:
    """The plan that decides which combinations are left for the evaluation."""
    rng = np.random.default_rng(seed)
    items, _ = fetch.load()
    pairable = [i.index for i in items if i.group in PAIRED_GROUPS]
    known = set(pairable)
    plan: Plan = []

    for item in items:
        plan.append((single(rng, item.index, plain=True), 0, "plain"))
        for _ in range(VARIED):
            plan.append((_one(rng, item), 0, "varied"))
        for background in rng.permutation(len(COLOURS) - 1)[:COLOURED] + 1:
            plan.append((_one(rng, item), int(background), "coloured"))
        for _ in range(PAIRED if item.index in known else 0):
            other = item.index
            while other == item.index or held_out(item.index, other):
                other = int(rng.choice(pairable))
            background = 0 if rng.random() < 0.7 else int(rng.integers(1, len(COLOURS)))
            plan.append((pair(rng, item.index, other), background, "paired"))
    while sum(kind == "held out" for *_, kind in plan) < HELD_OUT:
        left, right = (int(i) for i in rng.choice(pairable, 2))
        if left != right and held_out(left, right):
            plan.append((pair(rng, left, right), 0, "held out"))
    # Last, and of nothing that was not shown together before but pairs on white: so what is left for the evaluation's
    # combinations stays.
    first = [i for i in items if i.en in FIRST and i.index in known]
    shown = [(p[0].index, background) for p, background, kind in plan if kind == "coloured"]
    for item in first:
        others = [o.index for o in first if o is not item and not held_out(item.index, o.index)]
        for other in rng.choice(others, FIRST_PAIRED, replace=False):
            plan.append((pair(rng, item.index, int(other)), 0, "paired"))
        for background in [b for index, b in shown if index == item.index] * FIRST_COLOURED:
            plan.append((_one(rng, item), background, "coloured"))
    return plan


def widened(plan: Plan, kept: set[tuple[int, int]], seed: int = 5) -> Plan:
    """More of what training may show: things on colours that the plan has them not on yet.

    `kept` are the things and colours that only the evaluation is to see together.
    """
    rng = np.random.default_rng(seed)
    items, _ = fetch.load()
    shown = {(p[0].index, background) for p, background, kind in plan if kind == "coloured"}
    more: Plan = []
    for item in items:
        left = [c for c in range(1, len(COLOURS)) if not {(item.index, c)} & (shown | kept)]
        chosen = left * FIRST_MORE if item.en in FIRST else rng.permutation(left)[:MORE_COLOURS].tolist()
        more += [(_one(rng, item), c, "coloured") for c in chosen]
    return more


def halves(kept: set[tuple[int, int]], seed: int = 7) -> Plan:
    """Pairs whose halves training exchanges: every thing on the left, with others on the right; but for `kept`."""
    rng = np.random.default_rng(seed)
    items, _ = fetch.load()
    pairable = [i for i in items if i.group in PAIRED_GROUPS]
    plan: Plan = []
    for things, (white, coloured) in ((pairable, APART), ([i for i in pairable if i.en in FIRST], FIRST_APART)):
        for item in things:
            others = [o.index for o in things if o is not item and not held_out(item.index, o.index)]
            for i, other in enumerate(rng.choice(others, white + coloured, replace=False).tolist()):
                background = 0 if i < white else int(rng.integers(1, len(COLOURS)))
                places = apart(rng, item.index, other)
                if kept.isdisjoint((place.index, background) for place in places):
                    plan.append((places, background, "apart"))
    return plan
