"""The list of training images to compose: subjects, placements and backgrounds."""

from typing import NamedTuple

import numpy as np

from . import fetch, held_out
from .compose import COLOURS, Placement, fixed_pair, single
from .fetch import Item
from .held_out import is_held_out_pair
from .priority_labels import PRIORITY_LABELS

# Composed images per item besides the plain one: VARIED_PER_ITEM on white, mirrored, scaled and moved; and
# COLOURED_PER_ITEM unchanged on different colours. Items in PRIORITY_LABELS are shown on all colours.
VARIED_PER_ITEM, COLOURED_PER_ITEM = 1, 4
# Number of pairs with each item on the left: on white, and on colours. Priority pairs are pairs of two items
# in PRIORITY_LABELS, in addition to the pairs of all items.
PAIRS_PER_ITEM, PRIORITY_PAIRS_PER_ITEM = (2, 0), (12, 4)
# Number of composed pairs that only measure the error on held-out pairs.
HELD_OUT_PAIR_COUNT = 64
# Groups whose items are paired. Symbols are excluded, because prompts rarely combine them with another
# subject.
PAIRED_GROUPS = {"smileys-emotion", "people-body", "animals-nature", "food-drink", "travel-places",
                 "activities", "objects"}  # fmt: skip
# Labels with these words name a direction, so their images must not be mirrored.
DIRECTION_WORDS = ("left", "right")


class Composition(NamedTuple):
    """One image to compose."""

    placements: list[Placement]
    background: int  # index in COLOURS
    kind: str  # "plain", "varied", "coloured", "pair" or "held out"; training draws by kind


def build_plan(seed: int = 3) -> list[Composition]:
    """All training images, without the combinations that the evaluation asks for.

    Only the compositions of the kind "held out" show held-out pairs. Training does not draw them.
    """
    rng = np.random.default_rng(seed)
    items, _ = fetch.load()
    excluded = set(held_out.coloured_indices(items))
    pairable = [i for i in items if i.group in PAIRED_GROUPS]
    priority = [i for i in pairable if i.en in PRIORITY_LABELS]
    plan: list[Composition] = []
    for item in items:
        unchanged = single(rng, item.index, plain=True)
        plan.append(Composition(unchanged, 0, "plain"))
        plan += [Composition(_varied(rng, item), 0, "varied") for _ in range(VARIED_PER_ITEM)]
        colours = [c for c in range(1, len(COLOURS)) if (item.index, c) not in excluded]
        count = None if item.en in PRIORITY_LABELS else COLOURED_PER_ITEM
        plan += [Composition(unchanged, c, "coloured") for c in rng.permutation(colours)[:count].tolist()]
    for paired, counts in ((pairable, PAIRS_PER_ITEM), (priority, PRIORITY_PAIRS_PER_ITEM)):
        for left in paired:
            plan += _pairs(rng, left, paired, counts, excluded)
    while sum(composition.kind == "held out" for composition in plan) < HELD_OUT_PAIR_COUNT:
        left, right = (pairable[i].index for i in rng.choice(len(pairable), 2, replace=False))
        if is_held_out_pair(left, right):
            plan.append(Composition(fixed_pair(left, right), 0, "held out"))
    return plan


def _varied(rng: np.random.Generator, item: Item) -> list[Placement]:
    """The item mirrored, scaled and moved at random."""
    (place,) = single(rng, item.index, plain=False)
    if any(word in item.en for word in DIRECTION_WORDS):
        return [Placement(place.index, place.x, place.y, place.size, False)]
    return [place]


def _pairs(
    rng: np.random.Generator,
    left: Item,
    items: list[Item],
    counts: tuple[int, int],
    excluded: set[tuple[int, int]],
) -> list[Composition]:
    """Pairs with `left` on the left and another of `items` on the right.

    `counts` has the number of pairs on white and on colours. `excluded` has the combinations of item and
    colour that must not appear.
    """
    plan: list[Composition] = []
    for count, backgrounds in zip(counts, ([0], range(1, len(COLOURS))), strict=True):
        options = [
            (right.index, background)
            for right in items
            if right is not left and not is_held_out_pair(left.index, right.index)
            for background in backgrounds
            if excluded.isdisjoint({(left.index, background), (right.index, background)})
        ]
        chosen = [options[i] for i in rng.permutation(len(options))[:count]]
        plan += [
            Composition(fixed_pair(left.index, right), background, "pair") for right, background in chosen
        ]
    return plan
