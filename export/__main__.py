"""``python -m export --model DIR --out DIR``: a SavedModel becomes a bundle that ``python -m worker`` serves.

Prints what it did; the last line of stdout is the bundle's directory.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from worker.errors import LimelightError
from worker.files import write_file


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    options = _build_parser().parse_args(arguments)
    # TensorFlow takes seconds to import: --help and wrong usage should not wait for it.
    from export.exporter import export_model  # noqa: PLC0415

    try:
        exported = export_model(options.model, options.out, name=options.name, report=_report)
    except LimelightError as error:
        return _fail(str(error))
    if options.json:
        try:
            write_file(options.json, msgspec.json.format(msgspec.json.encode(exported), indent=2) + b"\n")
        except OSError as error:
            return _fail(f"{options.json} cannot be written: {error.strerror}. The bundle is at {exported.bundle}.")
    print(exported.bundle)
    return 0


def _fail(message: str) -> int:
    # What TensorFlow and ONNX say inside our messages can run over several lines.
    one_line = " ".join(line.strip() for line in message.splitlines() if line.strip())
    print(f"error: {one_line}", file=sys.stderr)
    return 1


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Convert a SavedModel to an ONNX bundle, and check its answers against TensorFlow.",
    )
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="SavedModel with assets.extra")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory that holds bundles")
    parser.add_argument("--name", help="the bundle's name (default: the model card's)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was done to FILE")
    return parser


def _report(step: str, outcome: str) -> None:
    print(f"{step:<10} {outcome}", file=sys.stderr if step == "note" else sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
