"""A Prediction that is too large keeps where the model looked most."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.answers.shortening import STRONGEST, keep_strongest
from worker.messages import AttentionMap, Classification, ModelRef, Position, Prediction

pytestmark = pytest.mark.fast


def encode(weights: list[float], *, with_items: bool) -> bytes:
    return msgspec.json.encode(
        Prediction(
            id="1",
            source=Position("events", 0, 7),
            output=Classification("praise", 0.9, {"praise": 0.9, "complaint": 0.1}),
            attention=[
                AttentionMap(
                    name="tokens",
                    axes=["token"],
                    field="text",
                    spans=[(place, place + 1) for place in range(len(weights))],
                    weights=weights,
                    truncated=False,
                    items=[f"w{place}" for place in range(len(weights))] if with_items else msgspec.UNSET,
                )
            ],
            model=ModelRef("tiny", "1", 3),
            event_timestamp_ms=1,
            scored_timestamp_ms=2,
            passthrough=msgspec.Raw(b'{"a": [1,2]}'),
        )
    )


@given(st.lists(st.floats(0, 1), max_size=30), st.booleans())
def test_the_strongest_weights_stay_in_the_order_of_the_text(weights: list[float], with_items: bool) -> None:
    before = msgspec.json.decode(encode(weights, with_items=with_items))
    after = msgspec.json.decode(keep_strongest(encode(weights, with_items=with_items)))

    [whole], [cut] = before.pop("attention"), after.pop("attention")
    assert after == before
    assert len(cut["weights"]) == min(len(weights), STRONGEST)
    assert sorted(cut["weights"], reverse=True) == sorted(weights, reverse=True)[:STRONGEST]
    assert cut["spans"] == sorted(cut["spans"])
    assert all(
        whole["weights"][start] == weight for (start, _), weight in zip(cut["spans"], cut["weights"], strict=True)
    )
    assert cut.get("items") == ([f"w{start}" for start, _ in cut["spans"]] if with_items else None)
