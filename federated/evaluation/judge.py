"""Judges weights on the populations that may be looked at while a run goes on: held-out examples and new clients."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from federated.data.clients import Federation, StoredClients
from federated.data.encoding import ClientDataset
from federated.evaluation.by_client import accuracy_by_client, spread
from federated.evaluation.classification import cross_entropy, score

Predict = Callable[[NDArray[np.int32]], NDArray[np.floating]]
"""Token ids `[N, T]` -> probabilities `[N, C]`."""


class Judge:
    """Computes the figures of a model. Reads each population once."""

    def __init__(self, federation: Federation) -> None:
        """
        Args:
            federation: whose populations judge.
        """
        self._federation = federation
        self._new_clients = pool(federation.validation) if len(federation.validation) else None

    def __call__(self, predict: Predict) -> dict[str, float]:
        """Figures on held-out examples, over all of them and client by client; with ``validation_``, on new clients.

        Raises:
            FloatingPointError: an answer is not a number.
        """
        heldout, labels = self._federation.heldout, self._federation.labels
        metrics = judge(predict, heldout, self._federation.heldout_owner, labels)
        if self._new_clients:
            for name, value in judge(predict, *self._new_clients, labels).items():
                if not name.startswith("recall."):
                    metrics[f"validation_{name}"] = value
        return metrics


def judge(predict: Predict, data: ClientDataset, owner: NDArray[np.int64], labels: list[str]) -> dict[str, float]:
    """Scores a model on one population.

    Args:
        predict: the model.
        data: the examples.
        owner: client of each example, `[N]`.
        labels: name of each class.

    Returns:
        What `score` gives, ``loss``, and ``client_accuracy_`` p5, p50, p95, worst_decile and jain.

    Raises:
        FloatingPointError: an answer is not a number.
    """
    probabilities = predict(data.token_ids)
    if not np.isfinite(probabilities).all():
        raise FloatingPointError("an answer to a held-out example is not finite")
    predicted = probabilities.argmax(axis=-1)
    fairness = spread(accuracy_by_client(owner, data.label, predicted))._asdict()
    del fairness["clients"]
    return {
        **score(data.label, predicted, labels),
        "loss": cross_entropy(data.label, probabilities),
        **{f"client_accuracy_{name}": value for name, value in fairness.items()},
    }


def pool(clients: StoredClients) -> tuple[ClientDataset, NDArray[np.int64]]:
    """All examples of the clients, and the client of each."""
    datasets = list(clients)
    token_ids, label = (np.concatenate(part) for part in zip(*datasets, strict=True))
    return ClientDataset(token_ids, label), np.repeat(np.arange(len(datasets)), clients.sizes)
