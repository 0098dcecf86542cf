import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bundle import Bundle
from worker.errors import BundleSchemaError, FeatureError
from worker.features import (
    PAD,
    PAD_ID,
    UNKNOWN,
    UNKNOWN_ID,
    TextEncoder,
    normalize,
    pad,
    require_tokenizer,
    split,
    tokenize,
)

pytestmark = pytest.mark.fast

any_text = st.text(st.characters(exclude_categories=["Cs"]))
mixed_text = st.lists(
    st.sampled_from(["good", "Don't", "ＧＯＯＤ", "好", "差评", "🍜", "e\u0301", "_", "3.5", "!", " ", "\n", "\u3000"])
).map("".join)
ascii_text = st.text("aB9'_-. \t\x1c\x7f")
texts = any_text | mixed_text | ascii_text
rows = st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The soup was cold!", ["the", "soup", "was", "cold", "!"]),
        ("don't, DON’T", ["don't", ",", "don't"]),
        ("'quoted'", ["'", "quoted", "'"]),
        ("送餐很慢", ["送", "餐", "很", "慢"]),
        ("很慢very slow", ["很", "慢", "very", "slow"]),
        ("ＡＢＣ　１２３，好", ["abc", "123", ",", "好"]),
        ("order #42_b", ["order", "#", "42", "_", "b"]),
        ("Straße ﬁx", ["strasse", "fix"]),
        ("好吃😀😀", ["好", "吃", "😀", "😀"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
        ("カレー", ["カレー"]),
        ("  \t\u3000\n", []),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert tokenize(text) == expected


@given(text=texts)
def test_spans_cover_every_visible_character_once_and_in_order(text: str) -> None:
    spans = split(text)
    starts, ends = [start for start, _ in spans], [end for _, end in spans]

    assert all(start < end for start, end in spans)
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert "".join(text[start:end] for start, end in spans) == "".join(text.split())


@given(text=texts)
def test_tokens_are_the_normalised_spans(text: str) -> None:
    assert tokenize(text) == [normalize(text[start:end]) for start, end in split(text)]


@given(left=texts, right=texts)
def test_a_text_reads_the_same_beside_another(left: str, right: str) -> None:
    shift = len(left) + 1

    assert tokenize(f"{left} {right}") == tokenize(left) + tokenize(right)
    assert split(f"{left} {right}") == split(left) + [(start + shift, end + shift) for start, end in split(right)]


@given(token=st.text(st.characters(max_codepoint=127)))
def test_the_shortcut_for_ascii_gives_the_general_answer(token: str) -> None:
    assert normalize(token) == token.casefold()


@given(text=texts.filter(lambda text: bool(text.split())), max_tokens=st.integers(1, 5))
def test_encoding_keeps_ids_and_spans_together_and_cuts_the_end(text: str, max_tokens: int) -> None:
    vocabulary = [PAD, UNKNOWN, *sorted(set(tokenize(text)))]
    whole = TextEncoder(vocabulary, max_tokens=len(text)).encode(text)
    cut = TextEncoder(vocabulary, max_tokens=max_tokens).encode(text)

    assert [vocabulary[index] for index in whole.ids] == tokenize(text)
    assert whole.spans == split(text)
    assert not whole.truncated
    assert (cut.ids, cut.spans) == (whole.ids[:max_tokens], whole.spans[:max_tokens])
    assert cut.truncated == (len(whole.ids) > max_tokens)


def test_what_the_vocabulary_lacks_is_unknown_and_never_padding() -> None:
    encoder = TextEncoder([PAD, UNKNOWN, "good"], max_tokens=9)

    assert encoder.encode("Good soup").ids == [2, UNKNOWN_ID]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("don\u2019t DON'T", ["don't", "don't"]),
        ("cafe\u0301 resume\u0301s", ["caf\u00e9", "resum\u00e9s"]),
        ("\ufeffgood\u200b soup", ["good", "soup"]),
        ("rock 'n' roll'", ["rock", "'", "n", "'", "roll", "'"]),
    ],
)
def test_spellings_that_look_the_same_are_the_same_token(text: str, tokens: list[str]) -> None:
    assert tokenize(text) == tokens


def test_a_bundle_with_another_tokenizer_is_refused(tiny_bundle: Bundle) -> None:
    field = tiny_bundle.manifest.fields[0]
    require_tokenizer(tiny_bundle.path, field)
    with pytest.raises(BundleSchemaError, match="'whitespace'"):
        require_tokenizer(tiny_bundle.path, msgspec.structs.replace(field, tokenizer="whitespace"))


@pytest.mark.parametrize("text", ["", " ", "\t\r\n", "\u3000\u00a0\u2028", "\u200b\ufeff"])
def test_a_text_without_a_visible_character_is_refused(text: str) -> None:
    with pytest.raises(FeatureError, match="no visible character"):
        TextEncoder([PAD, UNKNOWN], max_tokens=4).encode(text)


@given(rows=rows)
def test_padding_is_on_the_right_and_as_short_as_it_can_be(rows: list[list[int]]) -> None:
    batch = pad(rows)

    assert batch.dtype == np.int32
    assert batch.shape == (len(rows), max(map(len, rows)))
    for row, padded in zip(rows, batch.tolist(), strict=True):
        assert padded == row + [PAD_ID] * (batch.shape[1] - len(row))
