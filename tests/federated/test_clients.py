"""From examples to arrays: what is held out stays out, and every array has the promised shape."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.data.clients import build_federation, encode, order_labels
from federated.data.examples import Example
from federated.data.generator import generate
from federated.data.holdout import hold_out
from federated.data.partition import PartitionSettings
from federated.errors import DataError
from worker.features import PAD_ID, UNKNOWN, UNKNOWN_ID, TextEncoder, tokenize

pytestmark = pytest.mark.fast


def build(examples, **changes):
    settings = {
        "partition_settings": PartitionSettings(by="iid", clients=7),
        "heldout_fraction": 0.2,
        "vocabulary_size": 500,
        "min_count": 2,
        "max_tokens": 24,
        "seed": 1,
    }
    return build_federation(examples, **(settings | changes))


@pytest.fixture(scope="module")
def messages():
    return list(generate(records=600, seed=1, clients=10))


def test_shapes_and_types(messages):
    federation = build(messages)
    assert len(federation.clients) == 7
    for dataset in [*federation.clients, federation.heldout]:
        assert dataset.token_ids.dtype == dataset.label.dtype == np.int32
        assert dataset.token_ids.shape == (len(dataset.label), 24)
        assert dataset.token_ids.max() < len(federation.vocabulary) <= 500
        assert set(dataset.label.tolist()) <= set(range(len(federation.labels)))
    sizes = [len(dataset.label) for dataset in federation.clients]
    assert sum(sizes) + len(federation.heldout.label) == len(messages)
    assert len(federation.heldout_examples) == len(federation.heldout.label)


def test_clients_come_from_the_data_when_asked(messages):
    federation = build(messages, partition_settings=PartitionSettings(by="client"))
    assert len(federation.clients) <= 10
    assert max(len(client.label) for client in federation.clients) > 100


def test_rows_are_what_the_worker_would_encode(messages):
    federation = build(messages)
    encoder = TextEncoder(federation.vocabulary, max_tokens=24)
    for row, label, example in zip(*federation.heldout, federation.heldout_examples, strict=True):
        ids = encoder.encode(example.text).ids
        assert row.tolist() == ids + [PAD_ID] * (24 - len(ids))
        assert federation.labels[label] == example.label


def test_the_vocabulary_never_sees_a_held_out_text():
    rows = [Example(f"only{index} only{index} {label}", label) for index in range(50) for label in "ab"]
    federation = build(rows, min_count=1)
    seen = {token for example in federation.heldout_examples for token in tokenize(example.text)} - {"a", "b"}
    # A number stands in two rows; it is unknown if both were held out.
    alone = {token for token in seen if sum(token in example.text for example in federation.heldout_examples) == 2}
    assert not alone & set(federation.vocabulary)
    for row, example in zip(federation.heldout.token_ids, federation.heldout_examples, strict=True):
        assert (row[0] == UNKNOWN_ID) == (tokenize(example.text)[0] in alone)
    assert UNKNOWN in federation.vocabulary


def test_the_same_seed_gives_the_same_federation(messages):
    one, same, other = build(messages), build(messages), build(messages, seed=2)
    assert one.heldout_examples == same.heldout_examples != other.heldout_examples
    assert all((a.token_ids == b.token_ids).all() for a, b in zip(one.clients, same.clients, strict=True))


def test_a_label_that_was_never_seen_is_named_and_counted():
    rows = [Example("x", "odd"), Example("y", "odd"), Example("z", "a")]
    with pytest.raises(DataError, match=r"never seen in training: the label 'odd' \(2 examples\); known are 'a', 'b'"):
        encode(rows, vocabulary=["[PAD]", "[UNK]"], labels=["a", "b"], max_tokens=4)


def test_one_label_is_not_enough():
    with pytest.raises(DataError, match="every example has the label 'a'"):
        build([Example("x", "a")] * 10)


def test_numbers_are_ordered_by_value_and_before_names():
    assert order_labels({"10", "9", "b", "a", "01"}) == ["01", "9", "10", "a", "b"]
    assert order_labels({10_000 * "9", "8"}) == ["8", 10_000 * "9"]


LABELS = st.lists(st.sampled_from("abcd"), min_size=10, max_size=80)


@given(labels=LABELS, fraction=st.floats(0.1, 0.9), seed=st.integers(0, 2**32))
def test_holding_out_keeps_the_shares_of_the_labels(labels, fraction, seed):
    parts = hold_out(labels, fraction=fraction, seed=seed)
    assert sorted(parts.train + parts.heldout) == list(range(len(labels)))
    assert parts.train == sorted(parts.train)
    kept, held = (Counter(labels[index] for index in part) for part in parts)
    for label, count in Counter(labels).items():
        assert kept[label] >= 1
        assert abs(held[label] - fraction * count) <= 1
    assert hold_out(labels, fraction=fraction, seed=seed) == parts


def test_labels_too_small_to_split_alone_are_held_out_together():
    labels = [str(index // 2) for index in range(1_000)]
    assert abs(len(hold_out(labels, fraction=0.2, seed=1).heldout) - 200) <= 1


def test_a_file_sorted_by_label_is_not_held_out_in_its_order():
    labels = ["a"] * 500 + ["b"] * 500
    held = [labels[index] for index in hold_out(labels, fraction=0.2, seed=1).heldout]
    assert 30 < held[:100].count("a") < 70


@pytest.mark.parametrize("labels", [[], ["a", "b"]])
def test_too_few_examples_to_hold_any_out(labels):
    with pytest.raises(DataError, match=f"of {len(labels)} examples leaves nothing to judge by"):
        hold_out(labels, fraction=0.5, seed=1)
