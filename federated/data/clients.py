"""Examples as arrays, client by client.

Representation: axis 0 of every array is the example. ``token_ids`` is int32 `[N, T]`, padded on the right with 0;
``label`` is int32 `[N]`, an index into `Federation.labels`. T is `Federation.max_tokens` for every client, so that
clients can be stacked without another pad.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from federated.data.examples import Example
from federated.data.holdout import hold_out
from federated.data.partition import PartitionSettings, partition
from federated.data.vocabulary import RESERVED, build_vocabulary
from federated.errors import DataError
from worker.features import PAD_ID, TextEncoder

MAX_NUMBER_DIGITS = 20
"""A longer label is a name, even if it is made of digits."""


class ClientDataset(NamedTuple):
    """What one client owns."""

    token_ids: NDArray[np.int32]
    """`[N, T]`"""
    label: NDArray[np.int32]
    """`[N]`"""


class Federation(NamedTuple):
    """The clients, and what the server judges the model by."""

    clients: list[ClientDataset]
    heldout: ClientDataset
    heldout_examples: list[Example]
    """The same examples as `heldout`, in the same order."""
    labels: list[str]
    vocabulary: list[str]
    """Token of each id."""
    max_tokens: int


def build_federation(
    examples: Sequence[Example],
    *,
    partition_settings: PartitionSettings,
    heldout_fraction: float,
    vocabulary_size: int,
    min_count: int,
    max_tokens: int,
    seed: int,
) -> Federation:
    """Holds examples out, deals the others out to clients, and encodes both.

    The vocabulary and the labels come from the clients alone.

    Raises:
        DataError: the examples are too few, name no client where one is needed, have fewer than two labels, or no token
            often enough.
    """
    parts = hold_out([example.label for example in examples], fraction=heldout_fraction, seed=seed)
    train = [examples[i] for i in parts.train]
    heldout = [examples[i] for i in parts.heldout]
    labels = order_labels({example.label for example in train})
    if len(labels) < 2:
        raise DataError(f"every example has the label {labels[0]!r}. A classifier needs at least two labels.")
    owned = partition(train, partition_settings, seed=seed)
    vocabulary = build_vocabulary((example.text for example in train), size=vocabulary_size, min_count=min_count)
    if len(vocabulary) == len(RESERVED):
        raise DataError(f"no token occurs {min_count} times, so none would be known. Lower data.min_count.")

    def encoded(part: Sequence[Example]) -> ClientDataset:
        return encode(part, vocabulary=vocabulary, labels=labels, max_tokens=max_tokens)

    return Federation(
        clients=[encoded(client) for client in owned],
        heldout=encoded(heldout),
        heldout_examples=heldout,
        labels=labels,
        vocabulary=vocabulary,
        max_tokens=max_tokens,
    )


def encode(
    examples: Sequence[Example], *, vocabulary: Sequence[str], labels: Sequence[str], max_tokens: int
) -> ClientDataset:
    """Turns examples into arrays.

    Raises:
        DataError: an example has a label that is not in `labels`.
    """
    indices = {label: index for index, label in enumerate(labels)}
    if unseen := Counter(example.label for example in examples if example.label not in indices):
        found = ", ".join(f"{label!r} ({count} examples)" for label, count in sorted(unseen.items()))
        raise DataError(
            f"never seen in training: the label {found}; known are {', '.join(map(repr, labels))}. "
            "Train with examples of it, or remove it."
        )
    encoder = TextEncoder(vocabulary, max_tokens=max_tokens)
    token_ids = np.full((len(examples), max_tokens), PAD_ID, dtype=np.int32)
    for row, example in zip(token_ids, examples, strict=True):
        ids = encoder.encode(example.text).ids
        row[: len(ids)] = ids
    return ClientDataset(token_ids, np.array([indices[example.label] for example in examples], dtype=np.int32))


def order_labels(labels: set[str]) -> list[str]:
    """Numbers by value, other labels by name."""

    def rank(label: str) -> tuple[bool, int, str]:
        # Python refuses to read a number of thousands of digits.
        is_number = label.isdecimal() and len(label) < MAX_NUMBER_DIGITS
        return not is_number, int(label) if is_number else 0, label

    return sorted(labels, key=rank)
