"""When to stop: the validation clients have not been served better for a while.

The choice is made on clients that never train (`federated.data.populations`), and the model is the one that served them
best. Held-out examples and the test set have no part in it: a figure on data that a choice was made by flatters.
"""

from collections.abc import Mapping
from typing import Any

from federated.algorithms.definition import Leaves

FIGURE = "validation_accuracy"


class EarlyStop:
    """Remembers the best model."""

    def __init__(self, *, patience: int) -> None:
        """
        Args:
            patience: evaluations without a better one after which training ends.
        """
        self._patience = patience
        self._misses = 0
        self.metrics: dict[str, float] = {}
        """Of the best model."""
        self.weights: Leaves = []
        """The best model; empty before the first evaluation."""

    @property
    def exhausted(self) -> bool:
        """Whether it is time to stop."""
        return self._misses >= self._patience

    def observe(self, metrics: Mapping[str, float], weights: Leaves) -> None:
        """Takes an evaluation; of equal ones the earlier counts as better."""
        if self.metrics and metrics[FIGURE] <= self.metrics[FIGURE]:
            self._misses += 1
            return
        self._misses, self.metrics, self.weights = 0, dict(metrics), list(weights)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"misses": self._misses, "metrics": self.metrics, "weights": self.weights}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was read."""
        self._misses, self.metrics, self.weights = state["misses"], state["metrics"], state["weights"]
