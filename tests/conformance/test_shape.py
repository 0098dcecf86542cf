"""Events and answers of other JSON shapes than Limelight's."""

import pytest
from harness.ledger import Source
from harness.shape import Shape

pytestmark = pytest.mark.fast

OTHER = Shape(event='{"review": "$text", "passthrough": {"order": ["$id", 3]}}', answer="id:passthrough.order.no")


def test_an_event_is_its_template_filled_in() -> None:
    assert OTHER.encode_event(text='say "hi"', identity="7") == (
        b'{"review": "say \\"hi\\"", "passthrough": {"order": ["7", 3]}}'
    )


def test_an_answer_names_its_source_or_its_id() -> None:
    assert Shape().find_answered(b'{"source": {"topic": "t", "partition": 2, "offset": 31}}') == Source(2, 31)
    assert OTHER.find_answered(b'{"passthrough": {"order": {"no": 12}}}') == "12"


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"{}", b'{"source": {"partition": 1}}', b'{"source": 3}'])
def test_an_answer_to_nothing_is_none(value: bytes | None) -> None:
    assert Shape().find_answered(value) is None


def test_a_dead_letter_is_found_by_the_last_of_its_headers() -> None:
    headers = [("a.partition", b"9"), ("a.partition", b"2"), ("a.offset", b"5"), ("a.offset", None)]

    assert Shape(dead_letter="headers:a.").find_refused(headers) == Source(2, 5)
    assert Shape().find_refused(headers) is None
    assert Shape(dead_letter="headers:").find_refused([("partition", b"x"), ("offset", b"1")]) is None
