"""The judge: figures of held-out examples and of new clients, each by itself."""

import numpy as np
import pytest

from federated.data.clients import build_federation
from federated.data.examples import Example
from federated.data.partition import PartitionSettings
from federated.data.populations import Shares
from federated.evaluation.classification import cross_entropy
from federated.evaluation.judge import Judge, pool

pytestmark = pytest.mark.fast


@pytest.fixture
def build(stored):
    def build_with(**shares):
        examples = (Example(f"{label} {n}", label, f"c{n % 5}") for n in range(40) for label in "xy")
        return build_federation(
            stored(examples),
            partition_settings=PartitionSettings(),
            shares=Shares(heldout=0.25, **shares),
            vocabulary_size=100,
            min_count=1,
            max_tokens=2,
            seed=3,
        )

    return build_with


def read_label(federation):
    """A model that is right: the first token is the label."""
    x = federation.vocabulary.index("x")
    return lambda token_ids: np.stack([token_ids[:, 0] == x, token_ids[:, 0] != x], axis=1).astype(np.float32)


def test_a_perfect_model(build):
    federation = build(validation=0.4)
    metrics = Judge(federation)(read_label(federation))
    for name in ("accuracy", "macro_f1", "client_accuracy_p5", "client_accuracy_worst_decile", "client_accuracy_jain"):
        assert metrics[name] == metrics[f"validation_{name}"] == 1, name
    assert metrics["loss"] == metrics["validation_loss"] == 0
    assert metrics["recall.x"] == metrics["recall.y"] == 1


def test_new_clients_are_judged_by_themselves(build):
    federation = build(validation=0.4)
    right = read_label(federation)

    def right_only_for_known(token_ids):
        known = len(token_ids) == len(federation.heldout.label)
        return right(token_ids) if known else 1 - right(token_ids)

    metrics = Judge(federation)(right_only_for_known)
    assert metrics["accuracy"] == 1
    assert metrics["validation_accuracy"] == 0


def test_without_new_clients_there_are_no_such_figures(build):
    federation = build()
    assert not any(name.startswith("validation") for name in Judge(federation)(read_label(federation)))


def test_a_model_that_says_nothing_is_refused(build):
    with pytest.raises(FloatingPointError, match="not finite"):
        Judge(build())(lambda token_ids: np.full((len(token_ids), 2), np.nan))


def test_pooled_clients_keep_their_examples(build):
    federation = build(validation=0.4)
    data, owner = pool(federation.validation)
    for client, dataset in enumerate(federation.validation):
        assert (data.token_ids[owner == client] == dataset.token_ids).all()
        assert (data.label[owner == client] == dataset.label).all()


def test_cross_entropy():
    probabilities = np.array([[0.5, 0.5], [1.0, 0.0]])
    assert cross_entropy(np.array([0, 0]), probabilities) == pytest.approx(np.log(2) / 2)
    assert cross_entropy(np.array([1, 1]), probabilities) == pytest.approx((np.log(2) - np.log(1e-7)) / 2)
