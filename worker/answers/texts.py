"""Texts of a whole slice, as the model reads them: one array for all of their tokens in place of a list for each text.

`TextEncoder` is the specification. ASCII texts take the way of `worker.answers.ascii_tokens`; others, and long ones,
are encoded one by one.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.answers.ascii_tokens import TAIL, TokenIndex, split_all
from worker.errors import FeatureError
from worker.features import PAD_ID, TextEncoder

LONGEST_CHARACTERS = 9_999
"""A text with more goes alone: its arrays would be large, and its places have five digits."""


class Texts(NamedTuple):
    """`N` texts with `S` tokens: text `n` has the tokens ``begins[n] : begins[n] + lengths[n]``."""

    ids: NDArray[np.int32]
    """`[S]`"""
    spans: NDArray[np.int64]
    """`[S, 2]`, character offsets in the text of the token."""
    begins: NDArray[np.int64]
    """`[N]`"""
    lengths: NDArray[np.int64]
    """`[N]`, 0 for a text that is refused."""
    truncated: NDArray[np.bool_]
    """`[N]`"""
    refused: dict[int, FeatureError]
    """Text -> why the model cannot read it."""
    plain: NDArray[np.bool_]
    """`[N]`, whether the text's tokens stand in `characters` as JSON would write them."""
    characters: NDArray[np.uint8]
    """`[M]`, the texts that were encoded together."""
    starts: NDArray[np.int64]
    """`[P]`, place in `characters` of the first `P` of the tokens: all of those of plain texts."""

    def pad(self, rows: Sequence[int]) -> NDArray[np.int32]:
        """Ids of some of the texts as one `[B, T]` array, T being the longest of them, padded on the right."""
        lengths = self.lengths[rows]
        columns = np.arange(lengths.max())
        places = self.begins[rows, None] + columns
        is_kept = columns < lengths[:, None]
        return np.where(is_kept, self.ids.take(places, mode="clip"), np.int32(PAD_ID))


class TextsEncoder:
    """Turns the texts of a slice into token ids with a fixed vocabulary."""

    def __init__(self, vocabulary: Sequence[str], *, max_tokens: int, refused_tokens: int) -> None:
        """
        Args:
            vocabulary: token of each id; ids 0 and 1 are padding and unknown.
            max_tokens: longer texts are cut.
            refused_tokens: texts that are longer than this are refused.
        """
        self._max_tokens = max_tokens
        self._refused_tokens = refused_tokens
        self._encode_one = TextEncoder(vocabulary, max_tokens=max_tokens, refused_tokens=refused_tokens).encode
        self._index = TokenIndex(vocabulary)

    def encode(self, texts: Sequence[str]) -> Texts:
        """Encodes every text that the model can read, and says of the others why it cannot."""
        quick = [row for row, text in enumerate(texts) if len(text) <= LONGEST_CHARACTERS and text.isascii()]
        together = self._encode_together([texts[row] for row in quick])
        if len(quick) == len(texts) and together.lengths.all():
            return together
        return self._encode_others(together, quick, texts)

    def _encode_together(self, texts: Sequence[str]) -> Texts:
        """Encodes ASCII texts; what may not be read has no tokens."""
        joined = "\n".join(texts) + TAIL
        characters = np.frombuffer(joined.encode(), np.uint8)
        sizes = np.fromiter(map(len, texts), np.int64, len(texts)) + 1
        offsets = np.cumsum(sizes) - sizes
        found = split_all(characters, offsets)
        kept = np.where(found.counts <= self._refused_tokens, np.minimum(found.counts, self._max_tokens), 0)
        starts, lengths, text_of = found.starts, found.lengths, np.repeat(np.arange(len(texts)), found.counts)
        if (kept < found.counts).any():
            is_kept = np.arange(len(starts)) - found.firsts[text_of] < kept[text_of]
            starts, lengths, text_of = starts[is_kept], lengths[is_kept], text_of[is_kept]
        begins = starts - offsets[text_of]
        return Texts(
            ids=self._index.find(np.frombuffer(joined.lower().encode(), np.uint8), starts, lengths),
            spans=np.column_stack((begins, begins + lengths)),
            begins=np.cumsum(kept) - kept,
            lengths=kept,
            truncated=found.counts > self._max_tokens,
            refused={},
            plain=~found.has_escapes,
            characters=characters,
            starts=starts,
        )

    def _encode_others(self, together: Texts, quick: Sequence[int], texts: Sequence[str]) -> Texts:
        """Adds the texts without tokens, each as the specification reads it, or why it does not."""
        begins, lengths = np.zeros((2, len(texts)), np.int64)
        truncated, plain = np.zeros((2, len(texts)), bool)
        begins[quick], lengths[quick] = together.begins, together.lengths
        truncated[quick], plain[quick] = together.truncated, together.plain
        refused: dict[int, FeatureError] = {}
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        others = np.flatnonzero(lengths == 0)
        for row in others.tolist():
            try:
                text = self._encode_one(texts[row])
            except FeatureError as error:
                refused[row] = error
                continue
            begins[row], lengths[row], truncated[row] = len(ids), len(text.ids), text.truncated
            ids += text.ids
            spans += text.spans
        begins[others] += len(together.ids)
        places = np.fromiter(chain.from_iterable(spans), np.int64, 2 * len(spans)).reshape(-1, 2)
        return together._replace(
            ids=np.append(together.ids, np.array(ids, np.int32)),
            spans=np.concatenate((together.spans, places)),
            begins=begins,
            lengths=lengths,
            truncated=truncated,
            refused=refused,
            plain=plain,
        )
