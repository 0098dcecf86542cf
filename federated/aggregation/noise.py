"""Gaussian noise for the sum of a round, drawn by the server outside the engines.

Both kinds come from Philox streams keyed by (key, round, leaf), or (key, tree, node, leaf): no state to save, and round
7 draws the same whether or not the process ran rounds 1 to 6. The numbers are float64 approximations of a Gaussian, as
everywhere in this field; the last bits of such numbers are not covered by the theory
(Mironov, 2012, https://doi.org/10.1145/2382196.2382264).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from federated.privacy.keys import NoiseKey

Shapes = Sequence[tuple[int, ...]]


def draw_gaussian(key: NoiseKey, number: int, shapes: Shapes, *, deviation: float) -> list[NDArray[np.float64]]:
    """Independent noise for round `number`: one array for each of `shapes`."""
    return _draw(key, "noise", (number,), shapes, deviation)


def draw_local(
    key: NoiseKey, number: int, client: int, shapes: Shapes, *, deviation: float
) -> list[NDArray[np.float64]]:
    """What one client adds by itself before anything leaves it."""
    return _draw(key, "local noise", (number, client), shapes, deviation)


def draw_tree_step(
    key: NoiseKey, number: int, shapes: Shapes, *, deviation: float, tree_rounds: int
) -> list[NDArray[np.float64]]:
    """How the noise of the running sum changes in round `number`, from 1.

    DP-FTRL (Kairouz et al., 2021, https://arxiv.org/abs/2103.00039) releases running sums. The noise of the sum of a
    tree's first t rounds is that of the nodes of a binary tree that cover 1..t, one for each bit of t that is set. What
    one round adds to the released sum is therefore its own sum and the *difference* of two such noises: consecutive
    rounds share most of their nodes, and the noise of the running sum grows with the logarithm of t, not with t. A
    finished tree leaves its last noise behind; the next begins anew.

    Args:
        key: the run's.
        number: of the round.
        shapes: of the leaves.
        deviation: of each node.
        tree_rounds: rounds of one tree.
    """
    tree, place = divmod(number - 1, tree_rounds)
    before, after = _covering_nodes(place), _covering_nodes(place + 1)
    step = [np.zeros(shape) for shape in shapes]
    for nodes, sign in ((after - before, 1.0), (before - after, -1.0)):
        for level, index in sorted(nodes):
            node = _draw(key, "tree", (tree, level, index), shapes, deviation)
            step = [total + sign * part for total, part in zip(step, node, strict=True)]
    return step


def _covering_nodes(rounds: int) -> set[tuple[int, int]]:
    """Nodes (level, index on that level) that together cover the first `rounds` leaves, each leaf once."""
    return {(level, (rounds >> level) - 1) for level in range(rounds.bit_length()) if rounds >> level & 1}


def _draw(
    key: NoiseKey, purpose: str, numbers: tuple[int, ...], shapes: Shapes, deviation: float
) -> list[NDArray[np.float64]]:
    return [deviation * key.stream(purpose, *numbers, leaf).standard_normal(shape) for leaf, shape in enumerate(shapes)]
