"""Pairs of figures, one pair for each seed: what their differences say."""

import statistics
from collections.abc import Sequence

from scipy.stats import t

CONFIDENCE = 0.95


def describe_differences(differences: Sequence[float]) -> dict[str, float]:
    """Mean of the differences and Student's interval around it, in the same unit.

    Args:
        differences: of independent pairs, at least two.
    """
    mean = statistics.mean(differences)
    error = statistics.stdev(differences) / len(differences) ** 0.5
    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1)) * error
    return {"mean": mean, "low": mean - reach, "high": mean + reach}
