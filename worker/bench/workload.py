"""The backlog: texts of a long-tailed length, drawn by a seed from the words that the model knows.

Lengths are lognormal: half of the texts have at most `MEDIAN_TOKENS` tokens, the mean is 29, and of 32 texts that
arrive together the longest has 91. Nothing is longer than the model reads. Words follow Zipf's law, as words do. Every
process that needs the events draws them for itself: the same seed gives the same bytes.
"""

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from worker.bench.figures import Lengths
from worker.features import tokenize

MEDIAN_TOKENS, SIGMA = 23.4, 0.66
RESERVED = 2
"""Ids of padding and of unknown words stand before the words of a vocabulary."""
UNKNOWN_WORD = "unheard-of"


class Workload:
    """Events for one model."""

    def __init__(
        self,
        vocabulary: Sequence[str],
        *,
        max_tokens: int,
        text_field: str,
        id_field: str,
        records: int,
        seed: int,
    ) -> None:
        """
        Args:
            vocabulary: token of each id.
            max_tokens: of the model.
            text_field: record field with the text.
            id_field: record field with the event's id.
            records: how many events.
            seed: draws lengths and words.
        """
        # A word that the tokenizer would cut, as it may stand in a foreign vocabulary, would make texts longer.
        known = [word for word in vocabulary[RESERVED:] if tokenize(word) == [word]]
        self._words = known or [UNKNOWN_WORD]
        self._max_tokens = max_tokens
        self.text_field, self._id_field = text_field, id_field
        self._seed = seed
        self.lengths = draw_lengths(records, max_tokens=max_tokens, seed=seed)
        """Tokens of each text, int64 `[N]`."""

    def texts(self) -> Iterator[str]:
        """The texts, the same each time."""
        # Inverse transform: 1 / (rank + 1) summed up is the logarithm of the rank.
        chance = np.random.default_rng([self._seed, 1])
        scale = math.log(len(self._words) + 1)
        for length in self.lengths.tolist():
            ranks = np.exp(chance.random(length) * scale).astype(np.int64) - 1
            yield " ".join([self._words[rank] for rank in ranks.tolist()])

    def events(self) -> Iterator[bytes]:
        """The events, as JSON; their ids are their numbers."""
        encode = msgspec.json.Encoder().encode
        for number, text in enumerate(self.texts()):
            yield encode({self._id_field: str(number), self.text_field: text})

    def describe_lengths(self) -> Lengths:
        """What the lengths turned out to be."""
        p50, p99 = np.percentile(self.lengths, [50, 99])
        return Lengths(
            distribution=f"lognormal, median {MEDIAN_TOKENS}, sigma {SIGMA}, cut at {self._max_tokens}",
            mean=round(float(self.lengths.mean()), 1),
            p50=int(p50),
            p99=int(p99),
            longest=int(self.lengths.max()),
        )


def draw_lengths(count: int, *, max_tokens: int, seed: int) -> NDArray[np.int64]:
    """Tokens of each of `count` texts, `[N]`, between 1 and `max_tokens`."""
    drawn = np.random.default_rng([seed, 0]).lognormal(math.log(MEDIAN_TOKENS), SIGMA, count)
    lengths: NDArray[np.int64] = np.clip(np.rint(drawn), 1, max_tokens).astype(np.int64)
    return lengths
