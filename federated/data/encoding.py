"""From a store's own numbers to those of a model: which tokens and labels it knows.

Both come from the training clients' rows alone. Counting tokens is a federated count query: each training client counts
its own tokens, only the sums leave it, and the server keeps the most frequent. The simulation adds the counts up
directly, which gives the same numbers.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from federated.data.ragged import flat_positions
from federated.data.store import ClientStore
from federated.data.vocabulary import RESERVED, rank_tokens
from federated.errors import DataError
from worker.features import PAD_ID, UNKNOWN_ID

COUNTED_ROWS = 100_000
"""At a time: each token takes 16 bytes while it is counted."""
MAX_NUMBER_DIGITS = 20
"""A longer label is a name, even if it is made of digits."""
UNSEEN = -1
"""Of a label that is in no training row."""


class ClientDataset(NamedTuple):
    """What one client owns. Axis 0 is the example."""

    token_ids: NDArray[np.int32]
    """`[N, T]`, padded on the right with 0."""
    label: NDArray[np.int32]
    """`[N]`, an index into the model's labels."""


class Encoding(NamedTuple):
    """What a model knows, and how a store's numbers become its numbers."""

    labels: list[str]
    vocabulary: list[str]
    """Token of each id."""
    max_tokens: int
    """T; longer texts are cut."""
    token_ids: NDArray[np.int32]
    """The model's id of each of the store's."""
    label_ids: NDArray[np.int32]
    """The model's label of each of the store's, or `UNSEEN`."""

    def read(self, store: ClientStore, rows: NDArray[np.int64]) -> ClientDataset:
        """The examples at `rows`, in their order; their labels have to be known, see `require_known`."""
        positions = store.positions[rows]
        label = self.label_ids[store.label[positions]]
        starts = store.token_offsets[positions]
        lengths = np.minimum(store.token_offsets[positions + 1] - starts, self.max_tokens)
        token_ids = np.full((len(rows), self.max_tokens), PAD_ID, np.int32)
        known = np.arange(self.max_tokens) < lengths[:, np.newaxis]
        token_ids[known] = self.token_ids[store.tokens[flat_positions(starts, lengths)]]
        return ClientDataset(token_ids, label)

    def require_known(self, store: ClientStore, rows: NDArray[np.int64]) -> None:
        """Looks at the labels of `rows`, and at nothing else of them.

        Raises:
            DataError: one of them is a label that training has not seen.
        """
        codes = store.label[store.positions[rows]]
        unseen, counts = np.unique(codes[self.label_ids[codes] == UNSEEN], return_counts=True)
        if not len(unseen):
            return
        named = zip((store.labels[code] for code in unseen), counts, strict=True)
        found = ", ".join(f"{label!r} ({count} examples)" for label, count in named)
        raise DataError(
            f"never seen in training: the label {found}; known are {', '.join(map(repr, self.labels))}. "
            "Train with examples of it, or remove it."
        )


def build_encoding(
    store: ClientStore, training: NDArray[np.int64], *, vocabulary_size: int, min_count: int, max_tokens: int
) -> Encoding:
    """Learns labels and vocabulary from the rows `training`.

    Raises:
        DataError: they have fewer than two labels, or no token often enough.
    """
    learned = np.zeros(len(store), bool)
    learned[store.positions[training]] = True
    codes = np.flatnonzero(np.bincount(store.label[learned]))
    labels = order_labels({store.labels[code] for code in codes})
    if len(labels) < 2:
        raise DataError(f"every example has the label {labels[0]!r}. A classifier needs at least two labels.")
    counts = count_tokens(store, learned)
    chosen = rank_tokens(store.vocabulary, counts, size=vocabulary_size, min_count=min_count)
    if not len(chosen):
        raise DataError(f"no token occurs {min_count} times, so none would be known. Lower data.min_count.")
    token_ids = np.full(len(counts), UNKNOWN_ID, np.int32)
    token_ids[chosen] = np.arange(len(chosen)) + len(RESERVED)
    numbers = {label: number for number, label in enumerate(labels)}
    return Encoding(
        labels=labels,
        vocabulary=[*RESERVED, *(store.vocabulary[token] for token in chosen)],
        max_tokens=max_tokens,
        token_ids=token_ids,
        label_ids=np.array([numbers.get(label, UNSEEN) for label in store.labels], np.int32),
    )


def count_tokens(store: ClientStore, learned: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How often each of the store's tokens occurs at the positions where `learned`, `[N]`, is true."""
    counts = np.zeros(len(store.vocabulary), np.int64)
    for start in range(0, len(learned), COUNTED_ROWS):
        offsets = store.token_offsets[start : start + COUNTED_ROWS + 1]
        # Reading all of them in order is faster than picking out those that count.
        counted = np.repeat(learned[start : start + COUNTED_ROWS], np.diff(offsets))
        counts += np.bincount(store.tokens[offsets[0] : offsets[-1]][counted], minlength=len(counts))
    return counts


def order_labels(labels: set[str]) -> list[str]:
    """Numbers by value, other labels by name."""

    def rank(label: str) -> tuple[bool, int, str]:
        # Python refuses to read a number of thousands of digits.
        is_number = label.isdecimal() and len(label) < MAX_NUMBER_DIGITS
        return not is_number, int(label) if is_number else 0, label

    return sorted(labels, key=rank)
