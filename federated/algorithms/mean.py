"""The plain weighted mean: the aggregation of McMahan et al., 2017, https://arxiv.org/abs/1602.05629."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from federated.algorithms.definition import CohortResult, Leaves, State, Tensors

if TYPE_CHECKING:
    import tensorflow as tf


class WeightedMean:
    """Implements `federated.algorithms.definition.Aggregation`."""

    stacked = False
    sampling = None

    def broadcast(self, number: int) -> Leaves:  # noqa: ARG002
        """Nothing."""
        return []

    def local(self, number: int, clients: Sequence[int], *, silent: int = 0) -> list[Leaves]:  # noqa: ARG002
        """Nothing for each."""
        return [[] for _ in clients]

    def client(
        self,
        update: Tensors,
        weight: "tf.Tensor",
        broadcast: Tensors,  # noqa: ARG002
        local: Tensors,  # noqa: ARG002
    ) -> tuple[Tensors, "tf.Tensor", Mapping[str, "tf.Tensor"]]:
        """Multiplies by the weight."""
        return [leaf * weight for leaf in update], weight, {}

    def state(self) -> State:
        """Nothing."""
        return {}

    def restore(self, state: State) -> None:
        """Nothing."""

    def server(self, result: CohortResult, number: int) -> Leaves:  # noqa: ARG002
        """Divides by the sum of the weights."""
        total = np.sum(result.weights)
        return [leaf / total for leaf in result.total]
