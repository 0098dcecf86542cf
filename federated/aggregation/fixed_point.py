"""Real numbers as 32-bit integers, so that a sum is exact, has no order, and can be masked.

**Bound.** Let every entry of an update be at most C in magnitude (its clip), every weight at most W, and at most K
clients be added. With ``resolution = 2^p <= (2^31 - 1) / (K W C)`` each encoded entry is at most ``W C 2^p`` in
magnitude, because rounding goes towards 0, and a sum of K of them at most ``K W C 2^p <= 2^31 - 1``: it is its own
residue modulo 2^32. What wraps around on the way, masks included, does not matter. The sum of weights, encoded with
resolution 1, is at most K W, for which the same has to hold.
"""

import math

import numpy as np
from numpy.typing import NDArray

from federated.errors import AggregationError

LARGEST_SUM = 2**31 - 1
MIN_STEPS = 2**8
"""Fewer steps between 0 and the clip would leave updates too coarse to train with."""


def choose_resolution(*, clients: int, weight_cap: int, clip: float) -> float:
    """Steps in 1, a power of two so that scaling itself rounds nothing; see the module for its bound.

    Raises:
        AggregationError: a sum of so many clients, so heavy, leaves no precision.
    """
    if LARGEST_SUM // (clients * weight_cap) < MIN_STEPS:
        raise AggregationError(
            f"a secure sum of {clients} clients with weights up to {weight_cap:,} leaves less than {MIN_STEPS} steps "
            "for an update. Lower aggregation.weight_cap, or the cohort."
        )
    _, exponent = math.frexp(LARGEST_SUM / (clients * weight_cap * clip))
    return math.ldexp(1.0, exponent - 1)


def decode(total: NDArray[np.int32], resolution: float) -> NDArray[np.float64]:
    """A sum of encoded leaves as real numbers."""
    return total.astype(np.float64) / resolution
