"""The steps on the client in NumPy: slow, obvious, and the specification of `federated.aggregation.compiled`.

Updates are lists of leaves. Every function of the one module exists in the other, with the same meaning.
"""

import numpy as np
from numpy.typing import NDArray

Leaves = list[NDArray]

CLIP_MARGIN = 1e-6
"""Relative. Clipped updates end this much below the bound: rounding each entry to float32, three times 2^-24 at most,
must not carry one past it."""
LEVELS = 127
"""Levels of an 8-bit leaf on each side of 0."""


def screen(update: Leaves) -> tuple[Leaves, NDArray]:
    """Replaces an update that is not finite everywhere by zeros; the second value is 1 if it was kept, else 0."""
    kept = all(np.isfinite(leaf).all() for leaf in update)
    leaves = update if kept else [np.zeros_like(leaf) for leaf in update]
    return leaves, np.asarray(kept, dtype=update[0].dtype)


def clip(update: Leaves, bound: NDArray) -> tuple[Leaves, NDArray]:
    """Scales a longer update down to the norm `bound`; the second value is 1 if that was not needed, else 0.

    The norm is that of the update over its largest magnitude, so that neither tiny nor huge leaves leave the range of
    numbers when they are squared, and a sum in float64: one of a million squares in float32 can come out too small, and
    the update would stay longer than its bound.
    """
    largest = max(np.max(np.abs(leaf), initial=0.0) for leaf in update)
    if largest == 0:
        return update, np.ones_like(bound)
    wide = np.float64(largest)
    norm = np.sqrt(sum(np.sum(np.square(leaf.astype(np.float64) / wide)) for leaf in update))
    target = np.float64(bound) * (1 - CLIP_MARGIN)
    if wide * norm <= target:
        return update, np.ones_like(bound)
    factor = np.asarray(target / norm, bound.dtype)
    return [leaf / largest * factor for leaf in update], np.zeros_like(bound)


def add(update: Leaves, other: Leaves) -> Leaves:
    """Leaf by leaf; integers wrap around."""
    return [left + right for left, right in zip(update, other, strict=True)]


def scale(update: Leaves, factor: NDArray) -> Leaves:
    """Every leaf times a scalar."""
    return [leaf * factor for leaf in update]


def limit(weight: NDArray, most: int) -> NDArray:
    """The weight, but at most so much."""
    return np.minimum(weight, most)


def stack(scalars: Leaves) -> NDArray:
    """Scalars as one leaf."""
    return np.stack(scalars)


def quantise(update: Leaves, dither: Leaves) -> Leaves:
    """Rounds each leaf to one of 255 levels between its extremes, up or down at random so that the mean is exact.

    Source: Alistarh et al., "QSGD", 2017 (https://arxiv.org/abs/1610.02132), with the largest magnitude as the norm.

    Args:
        update: leaves; what is sent of each is its largest magnitude and a signed byte for each entry.
        dither: for each entry a number that is uniform over ``[0, 1)``.
    """
    return [_quantise_leaf(leaf, uniform) for leaf, uniform in zip(update, dither, strict=True)]


def _quantise_leaf(leaf: NDArray, uniform: NDArray) -> NDArray:
    unit = np.max(np.abs(leaf), initial=0.0) / LEVELS
    if unit == 0:
        return np.zeros_like(leaf)
    return np.clip(np.floor(leaf / unit + uniform), -LEVELS, LEVELS) * unit


def encode(update: Leaves, resolution: NDArray) -> Leaves:
    """Fixed point, int32: entries times `resolution`, towards 0, so that an update never becomes longer than its clip.

    Args:
        update: leaves.
        resolution: steps in 1, see `federated.aggregation.fixed_point`.
    """
    return [np.trunc(leaf * resolution).astype(np.int32) for leaf in update]
