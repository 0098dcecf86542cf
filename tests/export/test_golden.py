"""Golden records hold what the graph answers to single rows, from short texts to long ones."""

import numpy as np
import pytest
from msgspec.json import Decoder

from export.assets import Reference
from export.golden import RECORDS, build_golden_records, choose_varied, encode_golden_records
from worker.bundle import GoldenRecord
from worker.ports import Scores

pytestmark = pytest.mark.fast


class ThirdsModel:
    """Answers with a number that has no short decimal form; it can only read one row at a time."""

    def score(self, token_ids):
        assert token_ids.shape[0] == 1
        assert token_ids.dtype == np.int32
        third = np.float32(1) / np.float32(3)
        return Scores(np.array([[third, 1 - third]]), {"tokens": np.full(token_ids.shape, third, np.float32)})


def build_reference(count):
    """Texts of 1 to `count` tokens; in alphabetical order the longest comes first."""
    return [Reference(text=f"text {1000 - n}", ids=[2] * n) for n in range(count, 0, -1)]


def test_records_carry_event_answer_and_unpadded_attention():
    records = build_golden_records(ThirdsModel(), build_reference(2), field="review")
    probabilities = [0.3333333, 0.6666667]
    assert records == [
        GoldenRecord(event={"review": "text 999"}, probabilities=probabilities, attention={"tokens": [0.3333333]}),
        GoldenRecord(event={"review": "text 998"}, probabilities=probabilities, attention={"tokens": [0.3333333] * 2}),
    ]
    assert Decoder(GoldenRecord).decode_lines(encode_golden_records(records)) == records


@pytest.mark.parametrize("count", [1, 2, RECORDS, 500])
def test_lengths_spread_from_the_shortest_to_the_longest(count):
    lengths = [len(item.ids) for item in choose_varied(build_reference(count))]
    assert len(lengths) == min(count, RECORDS)
    assert (lengths[0], lengths[-1]) == (1, count)
    assert len(set(lengths)) == len(lengths)
