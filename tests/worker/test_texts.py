import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.answers.texts import LONGEST_CHARACTERS, TextsEncoder
from worker.errors import FeatureError
from worker.features import PAD, PAD_ID, UNKNOWN, TextEncoder, pad

pytestmark = pytest.mark.fast

VOCABULARY = [PAD, UNKNOWN, "a", "9", "don't", "abc", "abcdefgh", "abcdefghi", "sixteen-letters", "慢", "\x00", "\x1b"]
VOCABULARY += ["a" * size for size in (7, 8, 9, 15, 16, 17, 31, 32, 33)] + ["."]
MAX_TOKENS, REFUSED_TOKENS = 5, 9

words = st.sampled_from([*VOCABULARY, "Don't", "''", "'", "_", "b" * 40, '"', "\\", "é", "e\u0301", "ＡＢＣ"])
spaced = st.lists(words, max_size=12).map(" ".join)
glued = st.lists(words, max_size=12).map("".join)
raw = st.text(st.characters(max_codepoint=127), max_size=40) | st.text(max_size=12)
lists_of_texts = st.lists(spaced | glued | raw, max_size=8)


@given(texts=lists_of_texts, slow=st.booleans())
@example(texts=["'a", "a'", "a'a'a''a", "'" * 3], slow=False)
@example(texts=["a" * (LONGEST_CHARACTERS + 1), "a b"], slow=False)
def test_texts_together_read_as_each_does_alone(texts: list[str], slow: bool) -> None:
    encoder = TextEncoder(VOCABULARY, max_tokens=MAX_TOKENS, refused_tokens=REFUSED_TOKENS)
    together = TextsEncoder(VOCABULARY, max_tokens=MAX_TOKENS, refused_tokens=REFUSED_TOKENS).encode(texts)

    assert len(together.lengths) == len(texts)
    for row, text in enumerate(texts):
        begin, end = together.begins[row], together.begins[row] + together.lengths[row]
        if row in together.refused:
            with pytest.raises(FeatureError, match=re.escape(str(together.refused[row]))):
                encoder.encode(text)
            assert begin == end
            continue
        alone = encoder.encode(text)
        assert together.ids[begin:end].tolist() == alone.ids
        assert [tuple(span) for span in together.spans[begin:end].tolist()] == alone.spans
        assert together.truncated[row] == alone.truncated


@given(texts=lists_of_texts)
def test_a_plain_text_stands_there_as_it_was_written(texts: list[str]) -> None:
    together = TextsEncoder(VOCABULARY, max_tokens=MAX_TOKENS, refused_tokens=REFUSED_TOKENS).encode(texts)

    for row in np.flatnonzero(together.plain & (together.lengths > 0)).tolist():
        for token in range(together.begins[row], together.begins[row] + together.lengths[row]):
            start, end = together.spans[token]
            place = together.starts[token]
            written = together.characters[place : place + end - start].tobytes().decode()
            assert written == texts[row][start:end]
            assert min(written) > " "
            assert not set(written) & set('"\\')


@given(texts=st.lists(spaced, min_size=1, max_size=8), data=st.data())
def test_rows_are_padded_as_lists_would_be(texts: list[str], data: st.DataObject) -> None:
    together = TextsEncoder(VOCABULARY, max_tokens=MAX_TOKENS, refused_tokens=99).encode(texts)
    readable = np.flatnonzero(together.lengths).tolist()
    if not readable:
        return
    rows = data.draw(st.lists(st.sampled_from(readable), min_size=1, unique=True))
    encoder = TextEncoder(VOCABULARY, max_tokens=MAX_TOKENS)

    padded = together.pad(rows)
    assert padded.dtype == np.int32
    assert (padded == pad([encoder.encode(texts[row]).ids for row in rows])).all()
    assert (padded != PAD_ID).any(axis=1).all()


def test_the_last_of_two_equal_tokens_has_the_id() -> None:
    vocabulary = [PAD, UNKNOWN, "a", "a"]

    assert TextsEncoder(vocabulary, max_tokens=3, refused_tokens=9).encode(["a"]).ids.tolist() == [3]
    assert TextEncoder(vocabulary, max_tokens=3).encode("a").ids == [3]
