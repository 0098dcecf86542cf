"""From examples to arrays: what is held out stays out, and every array has the promised shape."""

import numpy as np
import pytest

from federated.data.clients import build_federation
from federated.data.encoding import order_labels
from federated.data.examples import Example
from federated.data.generator import generate
from federated.data.partition import PartitionSettings
from federated.data.populations import Shares
from federated.errors import DataError
from worker.features import PAD_ID, UNKNOWN, UNKNOWN_ID, TextEncoder, tokenize

pytestmark = pytest.mark.fast


@pytest.fixture
def build(stored):
    """Builds a federation, through a store, with settings that a test may change."""

    def build_with(examples, **changes):
        settings = {
            "partition_settings": PartitionSettings(by="iid", clients=7),
            "shares": Shares(heldout=0.2),
            "vocabulary_size": 500,
            "min_count": 2,
            "max_tokens": 24,
            "seed": 1,
        }
        return build_federation(stored(examples), **(settings | changes))

    return build_with


@pytest.fixture(scope="module")
def messages():
    return list(generate(records=600, seed=1, clients=10))


def test_shapes_and_types(build, messages):
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


def test_clients_come_from_the_data_when_asked(build, messages):
    federation = build(messages, partition_settings=PartitionSettings(by="client"))
    assert len(federation.clients) <= 10
    assert max(len(client.label) for client in federation.clients) > 100


def test_rows_are_what_the_worker_would_encode(build, messages):
    federation = build(messages)
    encoder = TextEncoder(federation.vocabulary, max_tokens=24)
    for row, label, example in zip(*federation.heldout, federation.heldout_examples, strict=True):
        ids = encoder.encode(example.text).ids
        assert row.tolist() == ids + [PAD_ID] * (24 - len(ids))
        assert federation.labels[label] == example.label


def test_the_vocabulary_never_sees_a_held_out_text(build):
    rows = [Example(f"only{index} only{index} {label}", label) for index in range(50) for label in "ab"]
    federation = build(rows, min_count=1)
    seen = {token for example in federation.heldout_examples for token in tokenize(example.text)} - {"a", "b"}
    # A number stands in two rows; it is unknown if both were held out.
    alone = {token for token in seen if sum(token in example.text for example in federation.heldout_examples) == 2}
    assert not alone & set(federation.vocabulary)
    for row, example in zip(federation.heldout.token_ids, federation.heldout_examples, strict=True):
        assert (row[0] == UNKNOWN_ID) == (tokenize(example.text)[0] in alone)
    assert UNKNOWN in federation.vocabulary


def test_the_same_seed_gives_the_same_federation(build, messages):
    one, same, other = build(messages), build(messages), build(messages, seed=2)
    assert list(one.heldout_examples) == list(same.heldout_examples) != list(other.heldout_examples)
    assert all((a.token_ids == b.token_ids).all() for a, b in zip(one.clients, same.clients, strict=True))


@pytest.mark.parametrize(("shares", "count"), [(Shares(0.2, validation=0.25), 20), (Shares(0.2, 0.25, 0.1), 18)])
def test_a_label_that_only_others_have_is_refused_before_anything_is_trained(build, shares, count):
    """Each client has a label of its own, and one of the four clients does not train."""
    rows = [Example(f"{label} {number}", label, label) for label in "abcd" for number in range(20)]
    named = (
        rf"never seen in training: the label '[abcd]' \({count} examples\); known are '[abcd]', '[abcd]', '[abcd]'. "
    )
    with pytest.raises(DataError, match=named):
        build(rows, min_count=1, partition_settings=PartitionSettings(), shares=shares)


def test_windows_of_one_speech_are_all_held_out_or_none(build):
    text = "abcdefghij" * 3
    rows = [
        Example(text[start : start + 5], text[start + 5], f"speaker {speech % 4}", group=str(speech))
        for speech in range(40)
        for start in range(20)
    ]
    federation = build(rows, partition_settings=PartitionSettings(), min_count=1, shares=Shares(heldout=0.2))
    assert len(federation.heldout.label) == 160
    owners = federation.heldout_owner
    assert all(np.bincount(owners)[np.unique(owners)] % 20 == 0)


def test_one_label_is_not_enough(build):
    with pytest.raises(DataError, match="every example has the label 'a'"):
        build([Example("x", "a")] * 10)


def test_numbers_are_ordered_by_value_and_before_names():
    assert order_labels({"10", "9", "b", "a", "01"}) == ["01", "9", "10", "a", "b"]
    assert order_labels({10_000 * "9", "8"}) == ["8", 10_000 * "9"]


def test_each_client_is_read_when_it_is_asked_for(build, messages):
    clients = build(messages).clients
    assert clients.sizes.tolist() == [len(client.label) for client in clients]
    assert (clients[-1].token_ids == clients[6].token_ids).all()
    assert [len(client.label) for client in clients[2:4]] == clients.sizes[2:4].tolist()
    for beyond in (7, -8):
        with pytest.raises(IndexError):
            clients[beyond]


def test_validation_clients_do_not_train(build, messages):
    settings = {"partition_settings": PartitionSettings(), "min_count": 1}
    federation = build(messages, shares=Shares(heldout=0.2, validation=0.3), **settings)
    assert (len(federation.clients), len(federation.validation)) == (7, 3)
    assert federation.heldout_owner.max() < 7
    everybody = sum(map(len, (federation.heldout.label, *(client.label for client in federation.clients))))
    assert everybody + federation.validation.sizes.sum() == len(messages)


def test_the_test_set_is_apart_until_it_is_opened(build, messages):
    federation = build(messages, shares=Shares(heldout=0.2, test=0.25))
    assert federation.clients.sizes.sum() + len(federation.heldout.label) == pytest.approx(450, abs=5)
    data, owners = federation.test.open()
    assert len(federation.test) == len(data.label) == len(owners) == pytest.approx(150, abs=5)
    assert len(set(owners)) > 5
    assert len(build(messages).test) == 0


def test_a_test_set_without_clients_counts_as_one(build):
    rows = [Example(f"{label} {number}", label) for label in "ab" for number in range(30)]
    data, owners = build(rows, min_count=1, shares=Shares(heldout=0.2, test=0.25)).test.open()
    assert owners.tolist() == [0] * len(data.label)
