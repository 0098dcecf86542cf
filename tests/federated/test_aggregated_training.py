"""Each way to clip, to hide and to add noise, from a configuration file to the weights of the model.

The server adds every round's update to the model as it is, so the noise that was promised can be measured in the
weights: far more of it is asked for than the clipped updates could make up.
"""

import functools
import json
import math
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
import tensorflow as tf

from federated.__main__ import main
from worker.bundle import ModelCard
from worker.messages import RoundRecord
from worker.privacy import PrivacyCard

pytestmark = pytest.mark.train

ROUNDS, COHORT, CLIENTS, CLIP = 7, 4, 32, 0.02

PRESET = f"""
seed = 3

[data]
records = 640
vocabulary_size = 200
max_tokens = 16
partition.by = "iid"
partition.clients = {CLIENTS}

[model]
embedding_size = 8
encoder = "simple_rnn"
hidden_size = 8
key_size = 4

[training]
rounds = {ROUNDS}
clients_per_round = {COHORT}
batch_size = 32
server_optimizer = "sgd"
server_learning_rate = 1.0
evaluate_every = 1

"""
CLIPPED = f"[aggregation]\nclip = {CLIP}\n"
PRIVATE = CLIPPED + '[privacy]\nepsilon = 2.0\ndelta = 1e-3\nsampling = "{}"\n'
SECURE = CLIPPED + "secure_sum = true\nsecure_threshold = 0.7\n[availability]\ndropout = 0.4\n"

DEVIATIONS = {
    "fixed": math.sqrt(ROUNDS) / COHORT,
    # Of seven rounds of a tree three nodes cover all: 4 + 2 + 1.
    "tree": math.sqrt(3) / COHORT,
    "local": math.sqrt(ROUNDS / COHORT),
}
"""Of the noise in the last weights, in multiples of the noise multiplier and the clip."""


class Run(NamedTuple):
    weights: np.ndarray
    """All of the model's, one after the other."""
    card: PrivacyCard | str
    records: list[RoundRecord]
    figures: dict[str, object]


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Trains what a configuration file asks for; the same once only."""

    @functools.cache
    def run(sections: str, *arguments: str) -> Run:
        directory = tmp_path_factory.mktemp("run")
        preset, out, figures = directory / "preset.toml", directory / "model", directory / "figures.json"
        preset.write_text(PRESET + sections)
        assert main(["train", "--preset", str(preset), "--out", str(out), "--json", str(figures), *arguments]) == 0
        checkpoint = tf.train.load_checkpoint(str(out / "variables" / "variables"))
        names = [name for name in sorted(checkpoint.get_variable_to_shape_map()) if "OBJECT_GRAPH" not in name]
        return Run(
            np.concatenate([checkpoint.get_tensor(name).ravel() for name in names]),
            msgspec.json.decode((out / "assets.extra" / "model.json").read_bytes(), type=ModelCard).privacy,
            msgspec.json.Decoder(RoundRecord).decode_lines((directory / "model-logs" / "rounds.jsonl").read_bytes()),
            json.loads(figures.read_text()),
        )

    return run


@pytest.fixture(scope="module")
def initial(train):
    """Weights that no training has moved."""
    return train("", "--rounds", "1", "--set", "training.server_learning_rate=1e-30").weights


@pytest.mark.parametrize("sampling", DEVIATIONS)
def test_the_noise_in_the_weights_is_that_of_the_card(train, initial, sampling):
    run = train(PRIVATE.format(sampling))
    assert (run.card.sampling, run.card.rounds, run.card.clip) == (sampling, ROUNDS, CLIP)
    assert 1.9 < run.card.epsilon_spent <= 2.0
    assert [record.clients for record in run.records] == [[]] * ROUNDS
    expected = run.card.noise_multiplier * CLIP * DEVIATIONS[sampling]
    # All clipped updates together move the weights by so much at most.
    assert ROUNDS * CLIP / math.sqrt(len(initial)) < 0.3 * expected
    assert np.std(run.weights - initial) == pytest.approx(expected, rel=0.1)


def test_clipping_alone_bounds_every_step(train, initial):
    run = train(CLIPPED)
    moved = float(np.linalg.norm(run.weights - initial))
    assert run.card == "none"
    assert 0.3 * ROUNDS * CLIP < moved <= ROUNDS * CLIP
    assert float(np.linalg.norm(train("").weights - initial)) > 2 * ROUNDS * CLIP, "the clip is not felt"


def test_a_secure_sum_that_too_many_leave_skips_its_rounds(train):
    run = train(SECURE)
    least = math.ceil(0.7 * COHORT)
    skipped = ["skipped" in record.train for record in run.records]
    assert skipped == [len(record.clients) < least for record in run.records]
    assert 0 < sum(skipped) == run.figures["skipped_rounds"] < ROUNDS
    assert [record.train.get("silent", 0) for record in run.records] == [COHORT - len(r.clients) for r in run.records]
    judged = [record.heldout["loss"] for record in run.records]
    for before, after, aborted in zip(judged, judged[1:], skipped[1:], strict=False):
        assert (before == after) == aborted


def test_a_secure_sum_gives_the_model_that_a_plain_one_gives(train):
    """But for the steps of its fixed point."""
    plain, secure = train(CLIPPED), train(CLIPPED + "secure_sum = true\n")
    np.testing.assert_allclose(secure.weights, plain.weights, atol=1e-4)
    assert (secure.weights != plain.weights).any(), "this one was not rounded"


MANY = ["--set", "training.clients_per_round=12"]
LIARS = "[attack]\nshare = 0.1\nfactor = 100.0\n"
"""Three of all clients, so at most three of a cohort."""


def test_liars_carry_the_plain_mean_away_and_not_the_robust_one(train, initial):
    honest, plain = train("", *MANY), train(LIARS, *MANY)
    robust = train('[aggregation]\ncombine = "multi_krum"\nliars = 0.25\n' + LIARS, *MANY)
    way, carried, kept = (float(np.linalg.norm(run.weights - initial)) for run in (honest, plain, robust))
    assert carried > 5 * way
    assert 0 < kept < 2 * way


def test_liars_may_learn_from_flipped_labels(train):
    flipped = train("[attack]\nshare = 0.9\nlabel_flip = true\n", *MANY)
    honest = train("", *MANY)
    assert flipped.records[0].clients == honest.records[0].clients
    assert flipped.records[0].train["loss"] != honest.records[0].train["loss"]
