"""``python -m federated clients``: who the clients of a run would be, and how different they are."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np

from federated.commands.federation import load_examples
from federated.commands.source import add_source_arguments
from federated.config import list_presets, load_config, parse_overrides
from federated.data.heterogeneity import Heterogeneity, count_labels, measure
from federated.data.heterogeneity_picture import draw
from federated.data.partition import partition
from federated.data.spill import write_store
from federated.data.store import ClientStore
from federated.outputs import write_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("--preset", required=True, metavar="P", help=f"one of {', '.join(list_presets())}")
    add_source_arguments(parser, instead="default: generated messages")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the preset")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the clients and their labels there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


def run(arguments: argparse.Namespace) -> None:
    """Prints how the clients differ in size and labels.

    Raises:
        ConfigError: the preset or a flag is wrong.
        DataError: the examples cannot be used, or not be dealt out so.
        OutputError: a file cannot be written.
    """
    overrides = parse_overrides(arguments.set)
    if arguments.client_field:
        overrides.setdefault("data.partition.by", "client")
    config = load_config(arguments.preset, overrides)
    with TemporaryDirectory(prefix="limelight-store-") as scratch:
        write_store(Path(scratch) / "store", load_examples(arguments, config))
        store = ClientStore(Path(scratch) / "store")
        labels, owners = store.label[store.positions], store.client[store.positions]
        assignment = partition(labels, owners, config.data.partition, seed=config.seed)
        counts = count_labels(assignment, labels)
    figures = measure(counts)
    for path, content in (
        (arguments.json, msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n"),
        (arguments.svg, draw(counts, store.labels, figures).encode()),
    ):
        if path:
            write_output(path, content)
    sys.stdout.write(describe(figures, store.labels, counts.sum(axis=0)))


def describe(figures: Heterogeneity, labels: list[str], totals: np.ndarray) -> str:
    """The figures as lines of text.

    Args:
        figures: of the clients.
        labels: name of each label.
        totals: examples with each label, `[C]`.
    """
    rows = {
        "examples of a client": figures.sizes,
        "labels of a client": figures.labels,
        "distance of its labels": figures.label_distance,
    }
    summary = (
        f"Gini of the sizes {figures.size_gini:.3f}; clients with one label {figures.one_label_clients:.1%}; "
        f"distance weighted by size {figures.mean_label_distance:.3f}"
    )
    lines = [
        f"{figures.clients:,} clients, {figures.examples:,} examples",
        "labels: " + ", ".join(f"{label} {total:,}" for label, total in zip(labels, totals.tolist(), strict=True)),
        f"{'':24}{'min':>9}{'p5':>9}{'p50':>9}{'p95':>9}{'max':>9}",
        *(
            f"{name:24}" + "".join(f"{value:9.4g}" for value in msgspec.structs.astuple(spread))
            for name, spread in rows.items()
        ),
        summary,
    ]
    return "\n".join(lines) + "\n"
