"""``python -m worker bench``: what each layer costs, from the model alone to exactly once on real brokers."""

import argparse
import os
import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import msgspec

from worker.bench.assignment import Assignment
from worker.bench.chart import draw
from worker.bench.figures import Figures, Skipped
from worker.bench.latency import WARM_UP_SECONDS
from worker.bench.measure import Order, measure
from worker.bench.plan import CLIENTS, LAYERS, OFFLINE, complete_layers
from worker.bench.tables import to_csv, to_markdown
from worker.commands import _types as types
from worker.errors import SettingsError
from worker.files import write_file
from worker.logs import configure
from worker.settings import Settings, variable

RECORDS = 60_000
REPETITIONS = 5
WARM_UP_RUNS = 8
"""With the backlog's 60,000 records and both clients, about a million records: until then Java is compiling what a
broker does. Its CPU time a record fell from 47 us in the first 200,000 to 24 us behind 500,000 and 11 us behind a
million, and the worker's rate rose by half."""
PARTITIONS = 4
LATENCY_SECONDS = 12.0
SLICE_RECORDS = (64, 2048)
SEED = 1
WITHOUT = {"librdkafka": "confluent_kafka"}
"""Client -> package without which it cannot be measured."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--bundle", type=Path, help="model bundle; default: LIMELIGHT_BUNDLE")
    parser.add_argument(
        "--bootstrap-servers",
        metavar="S",
        help="brokers that nobody else uses meanwhile; default: LIMELIGHT_BOOTSTRAP_SERVERS. `make bench` starts one",
    )
    parser.add_argument(
        "--layers",
        nargs="+",
        choices=LAYERS,
        default=LAYERS,
        metavar="LAYER",
        help=f"some of {', '.join(LAYERS)} (all)",
    )
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=CLIENTS, help="(both)")
    parser.add_argument("--records", type=types.count, default=RECORDS, metavar="N", help="backlog (%(default)s)")
    parser.add_argument(
        "--repetitions", type=types.count, default=REPETITIONS, metavar="R", help="of everything (%(default)s)"
    )
    parser.add_argument(
        "--warm-up-runs",
        type=types.count,
        default=WARM_UP_RUNS,
        metavar="R",
        help="of each client, before anything counts (%(default)s)",
    )
    parser.add_argument(
        "--slice-records",
        type=types.count,
        nargs="+",
        default=SLICE_RECORDS,
        metavar="N",
        help=f"sizes of the layer slices ({' '.join(map(str, SLICE_RECORDS))})",
    )
    parser.add_argument(
        "--latency-seconds",
        type=_latency_seconds,
        default=LATENCY_SECONDS,
        metavar="S",
        help="how long a worker is fed, in each repetition (%(default)s)",
    )
    parser.add_argument("--seed", type=types.count, metavar="S", default=SEED, help="draws the texts (%(default)s)")
    parser.add_argument(
        "--peer",
        type=shlex.split,
        default=[],
        metavar="COMMAND",
        help="a program that does a worker's work: it gets LIMELIGHT_BUNDLE, _BOOTSTRAP_SERVERS, _INPUT_TOPIC, "
        "_OUTPUT_TOPIC and _GROUP_ID, and SIGTERM when all is answered",
    )
    for name, what in (("json", "figures"), ("csv", "rates"), ("markdown", "tables"), ("chart", "picture, SVG,")):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"write the {what} there")


def _latency_seconds(text: str) -> float:
    seconds = float(text)
    if not WARM_UP_SECONDS < seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give more than {WARM_UP_SECONDS:g} s, at most an hour")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints the tables, and writes what was asked for."""
    files = {name: getattr(arguments, name) for name in ("json", "csv", "markdown", "chart")}
    for path in filter(None, files.values()):
        if not path.parent.is_dir():
            raise SettingsError(f"{path} cannot be written: there is no directory {path.parent}. Create it first.")
    settings = Settings.from_environment(bundle=arguments.bundle, bootstrap_servers=arguments.bootstrap_servers)
    settings.require_bundle()
    configure(settings.log_format, "error")
    order = _order(arguments)
    _require_brokers(order, arguments.bootstrap_servers)
    assignment = Assignment(settings, arguments.records, PARTITIONS, arguments.seed)
    figures = measure(assignment, order, lambda line: print(line, file=sys.stderr, flush=True))
    print(to_markdown(figures), end="")
    _write(files, figures)
    return 0


def _order(arguments: argparse.Namespace) -> Order:
    """What can be measured of what was asked for."""
    skipped: list[Skipped] = []
    layers = complete_layers(arguments.layers)
    clients = [client for client in CLIENTS if client in arguments.clients]
    for client in list(clients):
        if find_spec(WITHOUT.get(client, "worker")) is None:
            clients.remove(client)
            skipped.append(Skipped(client, "it is not installed: pip install 'limelight[librdkafka]'"))
    if "peer" in layers and not arguments.peer:
        layers.remove("peer")
        skipped.append(Skipped("peer", "no --peer was given; `make bench` installs one"))
    if arguments.peer and shutil.which(arguments.peer[0]) is None:
        raise SettingsError(f"--peer {arguments.peer[0]}: there is no such program.")
    for each in skipped:
        print(f"skipped: {each.layer}: {each.reason}", file=sys.stderr)
    return Order(
        layers=layers,
        clients=clients,
        slice_records=arguments.slice_records,
        warm_up_runs=arguments.warm_up_runs,
        repetitions=arguments.repetitions,
        latency_seconds=arguments.latency_seconds,
        peer=arguments.peer,
        skipped=skipped,
    )


def _require_brokers(order: Order, given: str | None) -> None:
    # Not the default address: a bench that happens upon somebody's brokers would fill them.
    if given is None and variable("bootstrap_servers") not in os.environ and not OFFLINE.issuperset(order.layers):
        raise SettingsError(
            "these layers need brokers. Start one that nobody else uses, python -m deploy.local broker --optimize, and "
            "give its address with --bootstrap-servers; `make bench` does both. --layers model memory need none."
        )


def _write(files: dict[str, Path | None], figures: Figures) -> None:
    contents = {
        "json": lambda: msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n",
        "csv": lambda: to_csv(figures),
        "markdown": lambda: to_markdown(figures).encode(),
        "chart": lambda: draw(figures).encode(),
    }
    for name, path in files.items():
        if path is None:
            continue
        try:
            write_file(path, contents[name]())
        except OSError as error:
            raise SettingsError(f"{path} cannot be written: {error.strerror}. Name another file.") from error
