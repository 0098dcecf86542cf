"""``python -m federated sweep``: train one model for each combination of values, and choose by validation clients.

Each run is a process of its own, so that one that diverges or runs out of memory takes no other along. The choice looks
at clients that never train, and at nothing else: the figure of the best of many on the same held-out examples flatters.
"""

import argparse
import csv
import io
import itertools
import subprocess
import sys
from pathlib import Path

import msgspec

from federated.config import list_presets, load_config, parse_overrides
from federated.early_stop import FIGURE
from federated.errors import ConfigError, OutputError
from federated.outputs import write_output
from worker.bundle import ModelCard

FAILED = float("-inf")
"""Figure of a run that did not come to its end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("--preset", required=True, metavar="P", help=f"one of {', '.join(list_presets())}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="must not exist; gets a model a run")
    parser.add_argument(
        "--grid",
        type=axis,
        action="append",
        required=True,
        metavar="KEY=A,B",
        help="values to try, for example training.client_learning_rate=0.1,0.3; all combinations of several",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the preset")
    parser.add_argument("options", nargs="*", metavar="-- OPTIONS", help="further options of train, after --")


def axis(value: str) -> tuple[str, list[str]]:
    """A key and the values to try."""
    key, equals, values = value.partition("=")
    if not (key and equals and all(values.split(","))):
        raise argparse.ArgumentTypeError(f"{value} is not KEY=A,B")
    return key, values.split(",")


def run(arguments: argparse.Namespace) -> None:
    """Trains, and prints a table with the best run first.

    Raises:
        ConfigError: a key or value is wrong, there are no validation clients, or no run came to its end.
        OutputError: `--out` exists already, or cannot be written.
    """
    keys = [key for key, _ in arguments.grid]
    combinations = list(itertools.product(*(values for _, values in arguments.grid)))
    for values in combinations:
        assignments = [*arguments.set, *_assign(keys, values)]
        # Before the first of them trains: a typing error in the last would be found only after hours.
        if not load_config(arguments.preset, parse_overrides(assignments)).data.validation_clients:
            raise ConfigError("a sweep chooses by clients that never train. Add --set data.validation_clients=0.1.")
    try:
        arguments.out.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"cannot make {arguments.out}: {error.strerror}. Name another directory.") from error
    numbered = enumerate(combinations, start=1)
    rows = [_train(arguments, number, keys, values, runs=len(combinations)) for number, values in numbered]
    rows.sort(key=lambda row: row[FIGURE], reverse=True)
    table = _to_csv(rows)
    write_output(arguments.out / "sweep.csv", table)
    sys.stdout.write(table.decode())
    if rows[0][FIGURE] == FAILED:
        raise ConfigError(f"none of the {len(rows)} runs came to its end; each has said why.")


def _train(
    arguments: argparse.Namespace, number: int, keys: list[str], values: tuple[str, ...], *, runs: int
) -> dict[str, object]:
    """Trains one combination; returns its row of the table."""
    assignments = _assign(keys, values)
    out = arguments.out / f"run-{number:03}"
    print(f"run {number}/{runs}: {' '.join(assignments)}", file=sys.stderr, flush=True)
    words = [word for assignment in [*arguments.set, *assignments] for word in ("--set", assignment)]
    command = [sys.executable, "-m", "federated", "train", "--preset", arguments.preset, "--out", str(out), *words]
    finished = subprocess.run([*command, *arguments.options], stdout=subprocess.DEVNULL, check=False)
    row: dict[str, object] = dict(zip(keys, values, strict=True)) | {"run": out.name, FIGURE: FAILED}
    if finished.returncode == 0:
        card = msgspec.json.decode((out / "assets.extra" / "model.json").read_bytes(), type=ModelCard)
        row |= {name: card.training.metrics[name] for name in (FIGURE, "validation_loss")}
    return row


def _assign(keys: list[str], values: tuple[str, ...]) -> list[str]:
    return [f"{key}={value}" for key, value in zip(keys, values, strict=True)]


def _to_csv(rows: list[dict[str, object]]) -> bytes:
    columns = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(columns), lineterminator="\n")
    table.writeheader()
    table.writerows({**row, FIGURE: "failed" if row[FIGURE] == FAILED else row[FIGURE]} for row in rows)
    return text.getvalue().encode()
