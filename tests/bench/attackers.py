"""What liars cost each aggregation: a fifth of 100 clients flips its labels and sends its update ten times as long.

For each seed and each way to combine updates the preset `demo` trains twice on generated messages, with honest clients
and with liars, 25 clients a round, without any clipping. Accuracy is that on held-out examples with their true labels,
in per cent. For each aggregation there are

- its *cost*: the accuracy of the plain mean minus its own, both with honest clients;
- its *loss*: its own accuracy with honest clients minus that with liars.
"""

import argparse
import itertools
import json
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from paired import describe_differences
from unrecorded import build_evaluation, train

from federated.aggregation.settings import Combine
from federated.commands.federation import DATA_SEED_OFFSET, federate
from federated.config import load_config, parse_overrides
from federated.data.generator import generate
from federated.data.spill import write_store
from federated.data.store import ClientStore

SETTING = {
    "data.clients": 100,
    "training.clients_per_round": 25,
    "training.evaluate_every": 10_000,
    # Of 100 clients 20 lie, and of 25 drawn among them up to 10: an aggregation that withstands 5 of 25 falls.
    "aggregation.liars": 0.4,
}
LIARS = {"attack.share": 0.2, "attack.label_flip": True, "attack.factor": 10.0}
ROBUST_BAR, PLAIN_BAR = 3.0, 10.0
"""A robust aggregation may lose so many points at most, where the plain mean loses so many at least."""


class Run(NamedTuple):
    """One training."""

    seed: int
    combine: str
    liars: bool
    accuracy: float
    """Held-out, in per cent."""


def measure(seed: int, combines: Sequence[str], overrides: dict[str, object]) -> list[Run]:
    """Trains with each aggregation, without and with liars, on the same messages."""
    settings = {**SETTING, **overrides, "seed": seed}
    data = load_config("demo", settings).data
    runs = []
    with tempfile.TemporaryDirectory() as directory:
        examples = generate(records=data.records, seed=seed + DATA_SEED_OFFSET, clients=data.clients)
        write_store(Path(directory) / "store", examples)
        store = ClientStore(Path(directory) / "store")
        for combine, liars in itertools.product(combines, [False, True]):
            config = load_config("demo", {**settings, **(LIARS if liars else {}), "aggregation.combine": combine})
            federation = federate(config, store)
            _, evaluate = build_evaluation(config, federation)
            metrics = train(config, federation, evaluate).outcome.metrics
            runs.append(Run(seed, combine, liars, 100 * metrics["accuracy"]))
            print(f"seed {seed} {combine:16} {'liars ' if liars else 'honest'} {runs[-1].accuracy:6.2f} %", flush=True)
    return runs


def summarize(runs: list[Run], combine: str) -> dict[str, object]:
    """Cost and loss of one aggregation over the seeds, each with its interval."""
    plain, honest, lied = (
        [run.accuracy for run in runs if (run.combine, run.liars) == wanted]
        for wanted in (("mean", False), (combine, False), (combine, True))
    )
    cost = [best - own for best, own in zip(plain, honest, strict=True)]
    loss = [own - left for own, left in zip(honest, lied, strict=True)]
    return {
        "cost": describe_differences(cost),
        "loss": describe_differences(loss),
        "least_loss": min(loss),
        "largest_loss": max(loss),
    }


def main() -> int:
    """Returns the exit status: 1 if the plain mean loses too little in any seed, or no robust one little enough."""
    parser = argparse.ArgumentParser(description="Measure what liars cost each way to combine updates.")
    parser.add_argument("--seeds", type=int, default=5, help="at least 2 (default: %(default)s)")
    parser.add_argument("--combine", nargs="+", choices=get_args(Combine), default=get_args(Combine), help="(all)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the preset")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    combines = list(dict.fromkeys(["mean", *arguments.combine]))
    overrides = parse_overrides(arguments.set)
    runs = [run for seed in range(1, arguments.seeds + 1) for run in measure(seed, combines, overrides)]
    found = {combine: summarize(runs, combine) for combine in combines}
    for combine, figures in found.items():
        cost, loss = (f"{name} {figures[name]['mean']:+6.2f} points" for name in ("cost", "loss"))
        print(f"{combine:16} {cost}, {loss} ({figures['least_loss']:+.2f} to {figures['largest_loss']:+.2f})")
    if arguments.json:
        rows = [run._asdict() for run in runs]
        arguments.json.write_text(json.dumps({"runs": rows, "aggregations": found}, indent=2) + "\n")
    robust = [figures["largest_loss"] for combine, figures in found.items() if combine != "mean"]
    return int(found["mean"]["least_loss"] < PLAIN_BAR or min(robust) > ROBUST_BAR)


if __name__ == "__main__":
    sys.exit(main())
