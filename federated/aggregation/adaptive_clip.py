"""A clip that follows the clients: geometric updates towards a quantile of their norms.

Source: Andrew et al., "Differentially Private Learning with Adaptive Clipping", 2021, https://arxiv.org/abs/1905.03871.
"""

import math

RATE = 0.2
"""Of the steps, in logarithms; the paper's."""
_COUNT_NOISE_SHARE = 1 / 20
"""Noise of the count of unclipped updates, as a share of the cohort; the paper's."""


def move_clip(clip: float, unclipped: float, quantile: float) -> float:
    """The next round's clip.

    Args:
        clip: this round's.
        unclipped: share of updates that were not longer; noise may carry it out of [0, 1].
        quantile: what that share should be.
    """
    return clip * math.exp(-RATE * (unclipped - quantile))


def split_noise(noise_multiplier: float, cohort: int) -> tuple[float, float]:
    """Divides a round's noise between the update and the count, so that both together cost what one would.

    The count is of ``bit - 1/2``, which one client moves by 1/2: as a Gaussian of its own with deviation b it counts as
    a multiplier of 2b, and multipliers compose by their inverse squares (theorem 1 of the paper).

    Returns:
        The multiplier of the update's noise, and the deviation of the count's.
    """
    count = max(cohort * _COUNT_NOISE_SHARE, noise_multiplier)
    return (noise_multiplier**-2 - (2 * count) ** -2) ** -0.5, count
