"""Models of single clients beside the one that they share, on the same held-out examples, client by client."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from federated.data.encoding import ClientDataset
from federated.errors import DataError
from federated.evaluation.by_client import accuracy_by_client
from federated.evaluation.judge import judge

SHOWN = ("accuracy", "macro_f1", "loss", "client_accuracy_p5", "client_accuracy_p50", "client_accuracy_worst_decile")
NORMAL_95 = 1.96
"""A mean of many clients lies within so many standard errors of the truth in 95 of 100 cases."""


class Answers(NamedTuple):
    """What two models say to each of N examples, as probabilities `[N, C]`."""

    shared: NDArray[np.floating]
    personal: NDArray[np.floating]


class Comparison(Struct, frozen=True):
    """Who gains from a model of its own."""

    clients: int
    """With held-out examples and a model of their own."""
    better: int
    """Clients whose own model is right more often."""
    worse: int
    mean_gain: float
    """In accuracy: over the clients, each counted once."""
    gain_error: float
    """Standard error of that mean; 0 for a single client."""
    shared: dict[str, float]
    """Figures of the shared model, see `federated.evaluation.judge`."""
    personal: dict[str, float]
    """The same of the clients' own models, each on its client's examples."""


def encode(comparisons: Mapping[str, Comparison]) -> bytes:
    """Name -> comparison, as JSON for people and for `load_comparisons`."""
    return msgspec.json.format(msgspec.json.encode(comparisons), indent=2) + b"\n"


def load_comparisons(path: Path) -> dict[str, Comparison]:
    """Reads what `encode` gave; nothing if there is no file.

    Raises:
        DataError: the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Comparison])
    except msgspec.DecodeError as error:
        raise DataError(f"{path} is damaged: {error}. Run personalize again.") from error


def describe(comparisons: Mapping[str, Comparison]) -> dict[str, str]:
    """Lines for people: who gains, and the figures of both models."""
    lines = {}
    for name, found in comparisons.items():
        lines[name] = (
            f"of {found.clients} clients {found.better} are served better and {found.worse} worse, "
            f"{found.mean_gain:+.4f} ± {NORMAL_95 * found.gain_error:.4f} in accuracy on average"
        )
        for whose, metrics in ("shared model", found.shared), ("own models", found.personal):
            lines[f"{name}, {whose}"] = ", ".join(f"{key} {metrics[key]:.4g}" for key in SHOWN)
    return lines


def compare(data: ClientDataset, owner: NDArray[np.int64], answers: Answers, labels: list[str]) -> Comparison:
    """Judges both models.

    Args:
        data: N examples.
        owner: client of each, `[N]`.
        answers: to each.
        labels: name of each class.

    Raises:
        FloatingPointError: an answer is not a number.
    """
    shared, personal = (judge(lambda _, given=given: given, data, owner, labels) for given in answers)
    before, after = (accuracy_by_client(owner, data.label, given.argmax(axis=-1)) for given in answers)
    gains = after - before
    return Comparison(
        clients=len(gains),
        better=int((gains > 0).sum()),
        worse=int((gains < 0).sum()),
        mean_gain=float(gains.mean()),
        gain_error=float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else 0.0,
        shared=shared,
        personal=personal,
    )
