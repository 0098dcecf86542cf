"""What is held out keeps the shares of the labels, in an order of its own."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.data.holdout import hold_out
from federated.errors import DataError

pytestmark = pytest.mark.fast

LABELS = st.lists(st.sampled_from("abcd"), min_size=10, max_size=80).map(np.array)


@given(labels=LABELS, fraction=st.floats(0.1, 0.9), seed=st.integers(0, 2**32))
def test_holding_out_keeps_the_shares_of_the_labels(labels, fraction, seed):
    parts = hold_out(labels, fraction=fraction, seed=seed)
    assert sorted([*parts.train, *parts.heldout]) == list(range(len(labels)))
    assert parts.train.tolist() == sorted(parts.train)
    kept, held = (Counter(labels[part].tolist()) for part in parts)
    for label, count in Counter(labels.tolist()).items():
        assert kept[label] >= 1
        assert abs(held[label] - fraction * count) <= 1
    again = hold_out(labels, fraction=fraction, seed=seed)
    assert again.heldout.tolist() == parts.heldout.tolist()


@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=30, max_size=80),
    fraction=st.floats(0.2, 0.9),
    seed=st.integers(0, 2**32),
)
def test_groups_are_held_out_as_a_whole(rows, fraction, seed):
    labels, groups = np.array([label for label, _ in rows]), np.array([group for _, group in rows])
    try:
        parts = hold_out(labels, fraction=fraction, seed=seed, groups=groups)
    except DataError:
        return
    assert sorted([*parts.train, *parts.heldout]) == list(range(len(rows)))
    assert not set(groups[parts.train]) & set(groups[parts.heldout])
    assert set(labels[parts.train]) == set(labels)
    assert len(parts.heldout) <= round(fraction * len(rows))


def test_groups_are_held_out_up_to_the_fraction_and_by_chance():
    groups = np.repeat(np.arange(100), 10)
    labels = np.arange(1_000) % 5
    one, other = (hold_out(labels, fraction=0.2, seed=seed, groups=groups).heldout for seed in (1, 2))
    assert len(one) == len(other) == 200
    assert set(groups[one]) != set(groups[other])


def test_labels_too_small_to_split_alone_are_held_out_together():
    labels = np.arange(1_000) // 2
    assert abs(len(hold_out(labels, fraction=0.2, seed=1).heldout) - 200) <= 1


def test_a_file_sorted_by_label_is_not_held_out_in_its_order():
    labels = np.repeat(["a", "b"], 500)
    held = labels[hold_out(labels, fraction=0.2, seed=1).heldout]
    assert 30 < (held[:100] == "a").sum() < 70


@pytest.mark.parametrize("labels", [[], ["a", "b"]])
def test_too_few_examples_to_hold_any_out(labels):
    with pytest.raises(DataError, match=f"of {len(labels)} examples leaves nothing to judge by"):
        hold_out(np.array(labels), fraction=0.5, seed=1)
