"""The clients of a run and the populations that judge its model, read from a store as they are needed.

T is `Federation.max_tokens` for every client, so that clients can be stacked without another pad.
"""

from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from federated.data.encoding import ClientDataset, Encoding, build_encoding
from federated.data.examples import Example
from federated.data.partition import Assignment, PartitionSettings
from federated.data.populations import Shares, split_populations
from federated.data.store import ClientStore


class StoredClients(Sequence[ClientDataset]):
    """Datasets of clients, each read when it is asked for."""

    def __init__(self, store: ClientStore, assignment: Assignment, encoding: Encoding) -> None:
        """
        Args:
            store: where the examples are.
            assignment: which rows belong to which client.
            encoding: what the model knows.
        """
        self._store, self._assignment, self._encoding = store, assignment, encoding

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Examples of each client, `[K]`, without reading any."""
        return self._assignment.sizes

    def __len__(self) -> int:
        return len(self._assignment.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> ClientDataset: ...
    @overload
    def __getitem__(self, index: slice) -> list[ClientDataset]: ...
    def __getitem__(self, index: int | slice) -> ClientDataset | list[ClientDataset]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._encoding.read(self._store, self._assignment.part(index % len(self)))


class StoredExamples(Sequence[Example]):
    """Examples as they were written, each read when it is asked for."""

    def __init__(self, store: ClientStore, rows: NDArray[np.int64]) -> None:
        """
        Args:
            store: where they are.
            rows: which, in the source's order.
        """
        self._store, self._rows = store, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        store, row = self._store, int(self._rows[index])
        position = store.positions[row]
        client = int(store.client[position])
        return Example(
            text=store.text(row),
            label=store.labels[store.label[position]],
            client=None if client < 0 else store.client_names[client],
        )


class SealedTest:
    """The test set: nothing reads it before it is opened, see `federated.data.populations`."""

    def __init__(self, store: ClientStore, rows: NDArray[np.int64], encoding: Encoding) -> None:
        """
        Args:
            store: where the examples are.
            rows: which are the test set's.
            encoding: what the model knows.
        """
        self._store, self._rows, self._encoding = store, rows, encoding

    def __len__(self) -> int:
        return len(self._rows)

    def open(self) -> tuple[ClientDataset, NDArray[np.int64]]:
        """The examples, and the client of each; where the data names none, all of them count as one client's."""
        owners = self._store.client[self._store.positions[self._rows]].astype(np.int64)
        return self._encoding.read(self._store, self._rows), np.maximum(owners, 0)


class Federation(NamedTuple):
    """The clients, and what the model is judged by."""

    clients: StoredClients
    """They train."""
    heldout: ClientDataset
    """Examples of training clients that are kept from training."""
    heldout_owner: NDArray[np.int64]
    """Index into `clients` of each of `heldout`, `[N]`."""
    heldout_examples: StoredExamples
    """The same examples as `heldout`, in the same order."""
    validation: StoredClients
    """Whole clients that never train; choices are made on them. Empty unless asked for."""
    test: SealedTest
    """Empty unless asked for."""
    labels: list[str]
    vocabulary: list[str]
    """Token of each id."""
    max_tokens: int


def build_federation(
    store: ClientStore,
    *,
    partition_settings: PartitionSettings,
    shares: Shares,
    vocabulary_size: int,
    min_count: int,
    max_tokens: int,
    seed: int,
) -> Federation:
    """Splits a store into populations, and learns labels and vocabulary from the training clients alone.

    Raises:
        DataError: the examples are too few, name no client where one is needed, have fewer than two labels, or no token
            often enough; or an example of another population has a label that training has not seen.
    """
    labels, owners, groups = (values[store.positions] for values in (store.label, store.client, store.group))
    populations = split_populations(labels, owners, groups, partition_settings, shares, seed=seed)
    encoding = build_encoding(
        store, populations.training.rows, vocabulary_size=vocabulary_size, min_count=min_count, max_tokens=max_tokens
    )
    # Now: some of them are read only after hours of training.
    for rows in (populations.heldout, populations.validation.rows, populations.test):
        encoding.require_known(store, rows)
    return Federation(
        clients=StoredClients(store, populations.training, encoding),
        heldout=encoding.read(store, populations.heldout),
        heldout_owner=populations.heldout_owner,
        heldout_examples=StoredExamples(store, populations.heldout),
        validation=StoredClients(store, populations.validation, encoding),
        test=SealedTest(store, populations.test, encoding),
        labels=encoding.labels,
        vocabulary=encoding.vocabulary,
        max_tokens=max_tokens,
    )
