"""What it costs to leave data where they are: federated rounds against one pool, on 11,987 Chinese reviews.

For each seed a fifth of the reviews is sealed as the test set, and the rest is dealt out to 55 clients by
Dirichlet(1.0): 50 train, 5 never do. Then the preset `reviews` trains two models from the same first weights:

- *federated*: 80 rounds over the 50 clients;
- *central*: Adam over the pool of the same clients' examples, in batches of the same size, for as many examples as the
  cohorts have read in all.

Both keep the model that did best on the clients that never train. Whatever was tuned (`PROTOCOL` and
`CENTRAL_RATE`) was tuned with ``--validation-only``, which leaves the test set sealed.
"""

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import federated  # noqa: F401 - sets what TensorFlow reads when it is imported

# isort: split
import numpy as np
import tensorflow as tf
from paired import describe_differences
from unrecorded import Evaluate, build_evaluation, describe_sizes, train

from federated.algorithms.definition import Batches, Leaves, Tensors
from federated.algorithms.local import differentiate, run_steps
from federated.algorithms.server_optimizers import ADAM_EPSILON, BETA_1, BETA_2
from federated.commands.federation import federate
from federated.config import Config, load_config, parse_overrides
from federated.data.clients import ClientDataset, Federation
from federated.data.readers import Source, read_examples
from federated.data.spill import write_store
from federated.data.store import ClientStore
from federated.early_stop import FIGURE, EarlyStop
from federated.engines.cohort import Cohort, MicroShard, cut, plan_shapes
from federated.evaluation.judge import judge, pool
from federated.models.block import Model, build_model
from federated.models.classifier import Classifier
from federated.rounds import draw_local_data
from federated.training import predict

DATA_DIR = Path(os.environ.get("DATA_DIR", Path(__file__).parents[2] / ".." / "shared" / "data"))
PROTOCOL = {
    "data.partition.clients": 55,
    "data.validation_clients": 5 / 55,
    "data.test_fraction": 0.2,
    "data.heldout_fraction": 0.02,
    # Twice the preset's rounds, so that both come to their end; central training is there after half of them.
    "training.rounds": 80,
    "training.server_schedule": "cosine",
    # Never: the budget is the same for both, and the best model counts.
    "training.patience": 1_000,
    "training.evaluate_every": 2,
}
CENTRAL_RATE = 1e-3
BAR_POINTS = 1.0


class AdamState(NamedTuple):
    """Where central training is."""

    weights: Tensors
    first: Tensors
    """Moving mean of the gradients."""
    second: Tensors
    """Moving mean of their squares."""
    count: tf.Tensor
    """Steps so far; floating."""


def train_centrally(
    config: Config, federation: Federation, model: Model, evaluate: Evaluate, *, examples: int, rate: float
) -> EarlyStop:
    """Trains on the clients' pooled data until `examples` of them were read; returns the best model."""
    data, _ = pool(federation.clients)
    stop = EarlyStop(patience=1_000)
    shapes = plan_shapes(
        [len(data.label)], epochs=1, batch_size=config.training.batch_size, max_tokens=federation.max_tokens
    )
    run_epoch = build_epoch(model, rate)
    weights = model.init(config.seed)
    nothing = [np.zeros_like(leaf) for leaf in weights]
    state = AdamState(weights, nothing, nothing, np.float32(0))
    for number in range(1, max(1, round(examples / len(data.label))) + 1):
        random = np.random.default_rng([config.seed, number])
        cohort = Cohort(config.seed, number, [0], [draw_local_data(data, 1, random)])
        (shard,) = cut(cohort, shapes._replace(steps=shapes.steps[-1:], tokens=shapes.tokens[-1:]))
        state = run_epoch(state, shard)
        weights = [leaf.numpy() for leaf in state.weights]
        stop.observe(evaluate(weights), weights)
    return stop


def build_epoch(model: Model, rate: float) -> Callable[[AdamState, MicroShard], AdamState]:
    """Adam over all batches of an epoch, compiled."""

    @tf.function(jit_compile=True)
    def run_epoch(state: AdamState, batches: Batches, key: tf.Tensor) -> AdamState:
        def step(number: tf.Tensor, state: AdamState) -> tuple[AdamState, dict[str, tf.Tensor]]:
            gradient = differentiate(model.apply, state.weights, batches, number, key)
            return take_step(state, gradient.leaves, rate), gradient.metrics

        return run_steps(batches, state, step)[0]

    def run(state: AdamState, shard: MicroShard) -> AdamState:
        batches = Batches({"token_ids": shard.token_ids}, shard.label, shard.kept, shard.bounds[0], shard.bounds[1])
        return run_epoch(*tf.nest.map_structure(tf.convert_to_tensor, (state, batches, shard.keys[0])))

    return run


def take_step(state: AdamState, gradient: Tensors, rate: float) -> AdamState:
    """One step of Adam (Kingma and Ba, 2015, https://arxiv.org/abs/1412.6980)."""
    count = state.count + 1
    first = [BETA_1 * old + (1 - BETA_1) * new for old, new in zip(state.first, gradient, strict=True)]
    second = [BETA_2 * old + (1 - BETA_2) * tf.square(new) for old, new in zip(state.second, gradient, strict=True)]
    unbiased = rate * tf.sqrt(1 - BETA_2**count) / (1 - BETA_1**count)
    weights = [
        weight - unbiased * mean / (tf.sqrt(square) + ADAM_EPSILON)
        for weight, mean, square in zip(state.weights, first, second, strict=True)
    ]
    return AdamState(weights, first, second, count)


def compare(config: Config, store: ClientStore, *, rate: float, validation_only: bool) -> dict[str, float]:
    """Both accuracies of one seed, in per cent, on the clients that never train and on the test set."""
    federation = federate(config, store)
    classifier, evaluate = build_evaluation(config, federation)
    trained = train(config, federation, evaluate)
    examples = sum(record.examples for record in trained.records) * config.training.local_epochs
    model = build_model(config.model, **describe_sizes(federation))
    central = train_centrally(config, federation, model, evaluate, examples=examples, rate=rate)
    figures = {
        "seed": config.seed,
        "clients": len(federation.clients),
        "epochs": examples / federation.clients.sizes.sum(),
    }
    both = {"federated": trained.state.stop, "central": central}
    figures |= {f"{name}_validation": 100 * stop.metrics[FIGURE] for name, stop in both.items()}
    # Held-out examples of the training clients: nothing was chosen by them, so they tell what a choice is worth.
    figures |= {f"{name}_heldout": 100 * stop.metrics["accuracy"] for name, stop in both.items()}
    if not validation_only:
        test, owners = federation.test.open()
        for name, stop in both.items():
            metrics = judge_test(classifier, stop.weights, test, owners, federation.labels)
            figures |= {f"{name}_test": 100 * metrics["accuracy"], f"{name}_test_macro_f1": 100 * metrics["macro_f1"]}
    return figures


def judge_test(
    classifier: Classifier, weights: Leaves, test: ClientDataset, owners: np.ndarray, labels: list[str]
) -> dict[str, float]:
    """Figures of one model on the test set."""
    classifier.set_weights(weights)
    return judge(partial(predict, classifier), test, owners, labels)


def main() -> int:
    """Returns the exit status: 1 if federated training lies more than the bar below central training."""
    parser = argparse.ArgumentParser(description="Compare federated with central training on real reviews.")
    parser.add_argument("--data", type=Path, default=DATA_DIR / "waimai_10k.csv", help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=1, help="others follow it (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the preset")
    parser.add_argument("--central-rate", type=float, default=CENTRAL_RATE, help="Adam's (default: %(default)s)")
    parser.add_argument("--validation-only", action="store_true", help="leave the test set sealed, to tune")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        write_store(Path(directory) / "store", read_examples(Source(arguments.data, "review", "label")))
        store = ClientStore(Path(directory) / "store")
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            config = load_config("reviews", {**PROTOCOL, **parse_overrides(arguments.set), "seed": seed})
            only = arguments.validation_only
            rows.append(compare(config, store, rate=arguments.central_rate, validation_only=only))
            print(" ".join(f"{name} {value:.4g}" for name, value in rows[-1].items()), flush=True)
    population = "heldout" if arguments.validation_only else "test"
    lead = [row[f"federated_{population}"] - row[f"central_{population}"] for row in rows]
    figures = {"seeds": rows, "population": population}
    if len(rows) > 1:
        figures["federated_minus_central_points"] = found = describe_differences(lead)
        print(f"federated minus central: {found['mean']:+.2f} points [{found['low']:+.2f}, {found['high']:+.2f}]")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(np.mean(lead) < -BAR_POINTS)


if __name__ == "__main__":
    sys.exit(main())
