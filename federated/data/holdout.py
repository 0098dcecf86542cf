"""Which examples are kept from training, to judge the model by.

Where examples are parts of a whole (windows of one speech, pictures of one patient), whole groups are held out: a model
that has read half of a speech knows more about the other half than about anybody else's.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from federated.data.sorting import sort_stably
from federated.errors import DataError


class Holdout(NamedTuple):
    """Indices into the examples; the two arrays are disjoint and cover all."""

    train: NDArray[np.int64]
    """In the order of the examples."""
    heldout: NDArray[np.int64]
    """Shuffled: a file that is sorted by label must not become a stream that is."""


def hold_out(
    labels: NDArray[np.generic],
    *,
    fraction: float,
    seed: int | Sequence[int],
    groups: NDArray[np.generic] | None = None,
) -> Holdout:
    """Chooses `fraction` of the examples; a label's last example always stays in training.

    Args:
        labels: label of each example, `[N]`, of any type that can be sorted.
        fraction: above 0 and below 1.
        seed: same seed, same choice.
        groups: of each example, `[N]`, of any such type; a group is held out as a whole. Without groups each label
            gives its own share, within one; with them all labels together give no more than theirs.

    Raises:
        DataError: nothing would be held out.
    """
    random = np.random.default_rng(seed)
    codes = _encode(labels)
    heldout = _draw_rows(codes, fraction, random) if groups is None else _draw_groups(codes, groups, fraction, random)
    if not heldout.size:
        raise DataError(
            f"a held-out fraction of {fraction} of {len(labels)} examples leaves nothing to judge by: "
            "a label's last example is needed for training. Give more examples of each label, or a larger fraction."
        )
    kept = np.ones(len(labels), bool)
    kept[heldout] = False
    return Holdout(train=np.flatnonzero(kept), heldout=random.permutation(heldout))


def _encode(labels: NDArray[np.generic]) -> NDArray[np.intp]:
    """Each label's place among those that occur, sorted."""
    if labels.dtype.kind != "i" or labels.min(initial=0) < 0 or labels.max(initial=0) > len(labels):
        return np.unique(labels, return_inverse=True)[1]
    # Small integers need no sort.
    return (np.cumsum(np.bincount(labels) > 0) - 1)[labels]


def _draw_groups(
    codes: NDArray[np.intp], groups: NDArray[np.generic], fraction: float, random: np.random.Generator
) -> NDArray[np.int64]:
    """Groups in random order, as long as there is room for one and no label loses its last example."""
    _, numbers = np.unique(groups, return_inverse=True)
    members = np.split(sort_stably(numbers), np.cumsum(np.bincount(numbers))[:-1])
    left = np.bincount(codes)
    room = round(fraction * len(codes))
    chosen = [np.empty(0, np.int64)]
    for number in random.permutation(len(members)):
        taken = np.bincount(codes[members[number]], minlength=len(left))
        if len(members[number]) <= room and (taken < np.maximum(left, 1)).all():
            chosen.append(members[number])
            room -= len(members[number])
            left -= taken
    return np.concatenate(chosen)


def _draw_rows(codes: NDArray[np.intp], fraction: float, random: np.random.Generator) -> NDArray[np.int64]:
    """Of each label its share, within one."""
    chosen = [np.empty(0, np.int64)]
    owed = 0.0
    for members in np.split(sort_stably(codes), np.cumsum(np.bincount(codes))[:-1]):
        owed += fraction * len(members)
        count = min(round(owed), len(members) - 1)
        chosen.append(random.permutation(members)[: max(count, 0)])
        # What rounding left over goes to the next label, so that many small labels are held out too; what a label
        # could not give because it is too small does not.
        owed = min(owed - count, 0.5)
    return np.concatenate(chosen)
