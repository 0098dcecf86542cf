"""Builds the algorithm that a run asks for."""

from collections.abc import Callable

from federated.algorithms.definition import Algorithm
from federated.algorithms.ditto import build_ditto
from federated.algorithms.fed_avg import build_fed_avg
from federated.algorithms.fed_nova import build_fed_nova
from federated.algorithms.fed_sgd import build_fed_sgd
from federated.algorithms.local import Apply
from federated.algorithms.mime_lite import build_mime_lite
from federated.algorithms.scaffold import build_scaffold
from federated.config import TrainingConfig

_BUILDERS: dict[str, Callable[[Apply, TrainingConfig], Algorithm]] = {
    "fedavg": build_fed_avg,
    "fedsgd": build_fed_sgd,
    "fednova": build_fed_nova,
    "mimelite": build_mime_lite,
    "ditto": build_ditto,
}


def build_algorithm(apply: Apply, training: TrainingConfig, *, clients: int) -> Algorithm:
    """Builds the algorithm ``training.algorithm``.

    Args:
        apply: the model.
        training: its settings.
        clients: how many there are in all.
    """
    if training.algorithm == "scaffold":
        return build_scaffold(apply, training, clients=clients)
    return _BUILDERS[training.algorithm](apply, training)
