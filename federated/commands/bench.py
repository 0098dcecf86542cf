"""``python -m federated bench``: how long a round takes, beside TensorFlow Federated's own loops."""

import argparse
import csv
import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from federated.bench.chart import draw
from federated.bench.shapes import SHAPES
from federated.commands.arguments import count
from federated.errors import OutputError
from worker.files import write_file

if TYPE_CHECKING:
    from federated.bench.measure import Result

CONTESTANTS = ("xla", "tff_default", "tff_iterator", "tff_packed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES), help="(all: %(default)s)")
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), help="(all)")
    parser.add_argument(
        "--pairs", type=count, default=5, metavar="N", help="rounds beside one of xla each (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the figures there, one contestant a line")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="write a picture of them there, SVG")


def run(arguments: argparse.Namespace) -> None:
    """Measures, prints a line for each contestant on each shape, and writes what was asked for.

    Raises:
        EngineError: TensorFlow Federated's worker did not start, or died.
        OutputError: a file cannot be written.
    """
    for path in filter(None, (arguments.json, arguments.csv, arguments.chart)):
        if not path.parent.is_dir():
            raise OutputError(f"cannot write {path}: there is no directory {path.parent}. Create it first.")
    results = _measure(arguments.shapes, arguments.contestants, arguments.pairs)
    descriptions = {name: shape.describe() for name, shape in SHAPES.items()}
    load = round(os.getloadavg()[0], 2)
    figures = {"cores": len(os.sched_getaffinity(0)), "load": load, "shapes": descriptions, "results": results}
    _write(arguments.json, msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
    _write(arguments.csv, _encode_csv(results))
    _write(arguments.chart, draw(results, descriptions).encode())


def _measure(shapes: list[str], contestants: list[str], pairs: int) -> list["Result"]:
    # One of TensorFlow Federated's dependencies says so at every import.
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")
    # Loading TensorFlow Federated takes seconds: whatever can be refused without it has been refused by now.
    from federated.bench.measure import measure  # noqa: PLC0415
    from federated.engines.tff import execution_context  # noqa: PLC0415

    results: list[Result] = []
    print("shape    contestant    first round    median   times xla's   memory peak")
    with execution_context():
        for shape in shapes:
            results += measure(shape, contestants, pairs=pairs, report=_print)
    return results


def _print(result: "Result") -> None:
    print(
        f"{result.shape:8} {result.contestant:12} {result.first_seconds:10.2f} s {result.median_seconds * 1e3:8.1f} ms "
        f"{result.times_slower:10.1f} {result.peak_mib:10.0f} MiB",
        flush=True,
    )


def _encode_csv(results: list["Result"]) -> bytes:
    text = io.StringIO()
    fields = [name for name in results[0].__struct_fields__ if name != "seconds"]
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(fields)
    rows.writerows([getattr(result, field) for field in fields] for result in results)
    return text.getvalue().encode()


def _write(path: Path | None, content: bytes) -> None:
    if path is None:
        return
    try:
        write_file(path, content)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}. Name another file.") from error
