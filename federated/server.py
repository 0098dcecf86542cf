"""The server: what outlives a round, and the two steps around the clients' part of one."""

from collections.abc import Mapping

import numpy as np

from federated.algorithms.definition import WEIGHTS, Aggregation, Algorithm, CohortResult, Leaves, State
from federated.client_states import ClientStates
from federated.engines.cohort import Cohort, Engine
from federated.traffic import Traffic, measure_traffic

_SUMS = ("loss", "correct", "personal_loss", "personal_correct")
"""Metrics that are sums over examples."""


class Server:
    """Advances a model by one round at a time.

    `state` and `client_states` are all that a later process needs to go on, beside what the aggregation keeps.
    """

    def __init__(self, algorithm: Algorithm, aggregation: Aggregation, engine: Engine, *, initial: Leaves) -> None:
        """
        Args:
            algorithm: how the model learns.
            aggregation: how the clients' updates become one.
            engine: runs the clients, of both.
            initial: first weights.
        """
        self._algorithm = algorithm
        self._aggregation = aggregation
        self._engine = engine
        self._untouched = algorithm.init_client(initial)
        self.state: State = algorithm.init(initial)
        self.client_states: dict[int, Leaves] | ClientStates = {}
        """Of the clients that were chosen before, by their index."""

    @property
    def untouched(self) -> Leaves:
        """State of a client that was never chosen."""
        return self._untouched

    def snapshot(self) -> dict[str, State]:
        """What a later process needs to go on, beside the clients' states."""
        return {"algorithm": self.state, "aggregation": self._aggregation.state()}

    def restore(self, snapshot: Mapping[str, State]) -> None:
        """Goes on where `snapshot` was taken."""
        self.state = snapshot["algorithm"]
        self._aggregation.restore(snapshot["aggregation"])

    @property
    def weights(self) -> Leaves:
        """The model."""
        return self.state[WEIGHTS]

    def measure_traffic(self, *, eight_bits: bool) -> Traffic:
        """What a round sends for each client, see `federated.traffic`."""
        return measure_traffic(self._algorithm, self.state, eight_bits=eight_bits)

    def pack(self, cohort: Cohort) -> object:
        """See `Engine.pack`."""
        return self._engine.pack(cohort)

    def run_round(self, cohort: Cohort, packed: object) -> dict[str, float]:
        """Trains a cohort and takes a step.

        Args:
            cohort: who takes part.
            packed: the same, from `pack`.

        Returns:
            ``loss`` and ``accuracy`` over the cohort's examples as the clients met them, and what the aggregation has
            to say.

        Raises:
            FloatingPointError: the update is not finite; nothing has changed. Of a private run that is the noisy
                update alone: what its clients sent decides nothing that can be seen.
            AbortedRoundError: too few of them answered; nothing has changed.
        """
        number = cohort.number
        result = self._engine.run(
            packed,
            broadcasts=(self._algorithm.broadcast(self.state, number), self._aggregation.broadcast(number)),
            client_states=[self.client_states.get(client, self._untouched) for client in cohort.clients],
            local=self._aggregation.local(number, cohort.clients, silent=cohort.silent),
        )
        update = self._aggregation.server(result, number)
        public = self._aggregation.sampling is None
        if public and 0 < len(cohort.clients) == result.metrics.get("refused"):
            raise FloatingPointError("no client's update is finite")
        if not all(np.isfinite(leaf).all() for leaf in update):
            raise FloatingPointError("the mean of the clients' updates is not finite")
        counted = len(result.weights) - round(result.metrics.get("refused", 0.0))
        self.state = self._algorithm.server_update(self.state, update, number, counted)
        if self._untouched:
            self.client_states.update(zip(cohort.clients, result.client_states, strict=True))
        return _finish(result)


def _finish(result: CohortResult) -> dict[str, float]:
    """Sums -> means."""
    metrics = dict(result.metrics)
    examples = metrics.pop("examples", 0.0)
    sums = {name: metrics.pop(name) for name in _SUMS if name in metrics}
    # A private cohort can be empty, or all of it refused: it has no loss.
    means = {name.replace("correct", "accuracy"): total / examples for name, total in sums.items() if examples}
    return means | metrics
