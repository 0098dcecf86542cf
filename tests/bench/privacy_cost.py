"""What differential privacy costs: 2,000 generated clients, (8, 1e-5), beside the same training without it.

For each seed the preset `private` trains twice on the same messages: as it stands, and with neither clipping nor noise,
where `WITHOUT` says what else is better then. Accuracy is that on held-out examples, in per cent. The *Bayes rate* is
the share of those examples whose label the generator has not replaced by a wrong one: nothing in a text tells of that,
so nobody can do better but by luck.
"""

import argparse
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from paired import describe_differences
from unrecorded import build_evaluation, train

from federated.commands.federation import DATA_SEED_OFFSET, federate
from federated.config import Config, load_config, parse_overrides
from federated.data.clients import Federation
from federated.data.generator import generate
from federated.data.spill import write_store
from federated.data.store import ClientStore
from federated.privacy.opening import begin_privacy, make_promise

WITHOUT = {"privacy.epsilon": 0.0, "aggregation.clip": 0.0}
COST_BAR, BAYES_BAR = 5.0, 2.0
"""Points that privacy may cost, and that the training without it may lie below the Bayes rate."""


def measure(config: Config, federation: Federation, directory: Path) -> dict[str, float]:
    """Trains a model, private or not; returns its held-out accuracy in per cent, and what was spent."""
    privacy = None
    if config.privacy.epsilon:
        promise = make_promise(config, clients=len(federation.clients), given_key=None)
        privacy = begin_privacy(directory, promise)
    _, evaluate = build_evaluation(config, federation)
    started = time.perf_counter()
    metrics = train(config, federation, evaluate, privacy=privacy).outcome.metrics
    figures = {"accuracy": 100 * metrics["accuracy"], "seconds": time.perf_counter() - started}
    return figures | ({"epsilon_spent": privacy.ledger.spent} if privacy else {})


def measure_bayes_rate(config: Config, federation: Federation) -> float:
    """Share of held-out examples whose label is the one that their text was written for, in per cent."""
    data = config.data
    messages = generate(records=data.records, seed=config.seed + DATA_SEED_OFFSET, clients=data.clients)
    wrong = {(message.text, message.label) for message in messages if not message.planted}
    return 100 * float(np.mean([(one.text, one.label) not in wrong for one in federation.heldout_examples]))


def compare(seed: int, overrides: dict[str, object], without: dict[str, object]) -> dict[str, object]:
    """Both trainings of one seed."""
    private = load_config("private", {**overrides, "seed": seed})
    open_ = load_config("private", {**overrides, **WITHOUT, **without, "seed": seed})
    data = private.data
    with tempfile.TemporaryDirectory() as directory:
        examples = generate(records=data.records, seed=seed + DATA_SEED_OFFSET, clients=data.clients)
        write_store(Path(directory) / "store", examples)
        federation = federate(private, ClientStore(Path(directory) / "store"))
        return {
            "seed": seed,
            "clients": len(federation.clients),
            "bayes_rate": measure_bayes_rate(private, federation),
            "without": measure(open_, federation, Path(directory) / "none"),
            "private": measure(private, federation, Path(directory) / "privacy"),
        }


def main() -> int:
    """Returns the exit status: 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description="Measure what differential privacy costs in accuracy.")
    parser.add_argument("--seeds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the preset")
    parser.add_argument(
        "--set-without", action="append", default=[], metavar="KEY=VALUE", help="the same, for the other training"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    rows = []
    for seed in range(1, arguments.seeds + 1):
        rows.append(compare(seed, parse_overrides(arguments.set), parse_overrides(arguments.set_without)))
        accuracy = {name: rows[-1][name]["accuracy"] for name in ("without", "private")}
        print(
            f"seed {seed}: Bayes rate {rows[-1]['bayes_rate']:.2f} %, without {accuracy['without']:.2f} %, private "
            f"{accuracy['private']:.2f} % at epsilon {rows[-1]['private']['epsilon_spent']:.3f}",
            flush=True,
        )
    cost = [row["without"]["accuracy"] - row["private"]["accuracy"] for row in rows]
    below = [row["bayes_rate"] - row["without"]["accuracy"] for row in rows]
    figures = {"seeds": rows}
    if len(rows) > 1:
        figures |= {"cost_points": describe_differences(cost), "below_bayes_points": describe_differences(below)}
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(np.mean(cost) > COST_BAR or np.mean(below) > BAYES_BAR)


if __name__ == "__main__":
    sys.exit(main())
