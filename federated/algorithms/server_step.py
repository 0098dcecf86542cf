"""The server's half that most algorithms share: the aggregated update as a pseudo-gradient of an optimizer."""

from federated.algorithms.definition import WEIGHTS, Leaves, State
from federated.algorithms.schedules import server_rate
from federated.algorithms.server_optimizers import build_server_optimizer
from federated.config import TrainingConfig

MOMENTS = "moments"


class ServerStep:
    """Keeps the parts `WEIGHTS` and `MOMENTS` of a state."""

    def __init__(self, training: TrainingConfig) -> None:
        self._training = training
        self._optimizer = build_server_optimizer(
            training.server_optimizer, momentum=training.server_momentum, epsilon=training.server_epsilon
        )

    def init(self, weights: Leaves) -> State:
        """First weights -> state."""
        return {WEIGHTS: weights, MOMENTS: self._optimizer.init(weights)}

    def update(self, state: State, update: Leaves, number: int, clients: int) -> State:  # noqa: ARG002
        """One step in round `number`, however many `clients`; other parts of the state stay as they are."""
        rate = server_rate(self._training, number)
        weights, moments = self._optimizer.step(state[WEIGHTS], state[MOMENTS], update, rate, number)
        return {**state, WEIGHTS: weights, MOMENTS: moments}
