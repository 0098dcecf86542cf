import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from worker.features import split
from worker.messages import AttentionMap, Classification, ModelRef, Position, Prediction
from worker.tinting import BOLD, RESET, STEPS, WITHHELD, plain_line, printable, tinted_line

pytestmark = pytest.mark.fast

HEAD = "late   0.91"
ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def attend(text: str, weights: list[float] | None = None, **changes: Any) -> AttentionMap:
    spans = split(text)
    fields: dict[str, Any] = {
        "spans": spans,
        "weights": weights or [1 / len(spans)] * len(spans),
        "items": [text[start:end] for start, end in spans],
        "truncated": False,
        **changes,
    }
    return AttentionMap(name="tokens", axes=["token"], field="text", **fields)


def predict(*attention: AttentionMap, label: str = "late") -> Prediction:
    return Prediction(
        id="1",
        source=Position("events", 0, 7),
        output=Classification(label, 0.914, {label: 0.914, "broken": 0.086}),
        attention=list(attention),
        model=ModelRef("tiny", "v", 1),
        event_timestamp_ms=1,
        scored_timestamp_ms=2,
    )


def body(line: str) -> str:
    return ESCAPE.sub("", line).removeprefix(HEAD + "  ")


def test_plain_writes_the_weights_of_the_three_heaviest_tokens_behind_them() -> None:
    line = plain_line(predict(attend("the box is very late", [0.05, 0.3, 0.05, 0.2, 0.4])))
    assert line == f"{HEAD}  the box(0.30) is very(0.20) late(0.40)"


def test_among_equals_the_first_are_marked_and_a_heavier_one_always_is() -> None:
    line = plain_line(predict(attend("a b c d", [0.2, 0.2, 0.2, 0.4])))
    assert body(line) == "a(0.20) b(0.20) c d(0.40)"


@pytest.mark.parametrize("truecolor", [True, False])
def test_each_step_of_weight_has_its_own_colour(truecolor: bool) -> None:
    weights = [0.5, 0.25, 0.12, 0.06, 0.05, 0.02]
    line = tinted_line(predict(attend("a b c d e f", weights)), truecolor=truecolor)

    styles = [step.truecolor if truecolor else step.palette for step in STEPS]
    painted = [f"\x1b[{style}m{token}{RESET}" for style, token in zip(styles, "abcd", strict=True)]
    assert line == f"{BOLD}{HEAD}{RESET}  {' '.join(painted)} e f"
    assert len(set(styles)) == len(STEPS)


@given(st.text(st.sampled_from("abé'! \n\t的餐好,。\x1b[0m\x9b\u202e\u200b"), min_size=1).filter(split))
def test_the_sentence_is_the_text_with_its_gaps_made_one_space(text: str) -> None:
    prediction = predict(attend(text))
    gaps_closed = re.sub(r"[\s\u200b]+", " ", text).strip(" ")

    for line in (tinted_line(prediction, truecolor=True), tinted_line(prediction, truecolor=False)):
        assert body(line) == printable(gaps_closed)
    assert re.sub(r"\(\d\.\d\d\)", "", body(plain_line(prediction))) == printable(gaps_closed)


@given(st.text())
def test_nothing_in_a_record_steers_the_terminal(text: str) -> None:
    attention = attend("x", items=[text])
    lines = [plain_line(predict(attention, label=text)), tinted_line(predict(attention, label=text), truecolor=True)]
    assert all(ESCAPE.sub("", line).isprintable() for line in lines)


def test_chinese_tokens_touch() -> None:
    assert body(tinted_line(predict(attend("送餐太慢了, 谢谢")), truecolor=True)) == "送餐太慢了, 谢谢"


def test_where_only_the_heaviest_tokens_were_sent_the_rest_is_an_ellipsis() -> None:
    heaviest = attend(
        "the box arrived late",
        [0.5, 0.2],
        spans=[(16, 20), (4, 7)],
        items=["late", "box"],
    )
    assert body(plain_line(predict(heaviest))) == "… box(0.20) … late(0.50)"


def test_a_text_that_was_cut_says_so() -> None:
    assert body(plain_line(predict(attend("late", truncated=True)))) == "late(1.00) …"


def test_withheld_tokens_show_their_length_only() -> None:
    line = plain_line(predict(attend("the box", [0.4, 0.6], items=UNSET)))
    assert body(line) == f"{WITHHELD * 3}(0.40) {WITHHELD * 3}(0.60)"


def test_without_attention_the_position_stands_for_the_text() -> None:
    assert plain_line(predict()) == f"{HEAD}  events-0-7"
