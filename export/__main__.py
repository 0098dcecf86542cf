"""``python -m export --model DIR --out DIR``: a SavedModel becomes a bundle that ``python -m worker`` serves.

``python -m export keygen`` makes a pair of keys, and ``python -m export sign`` signs a bundle. Each prints what it did;
the last line of stdout is what was made: a directory or a file.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from export.errors import ExportError
from export.outputs import check_outputs
from export.sign import add_keygen_arguments, add_sign_arguments, keygen, sign
from worker.errors import LimelightError
from worker.files import write_file

SIGNING = {
    "keygen": ("Make a pair of Ed25519 keys; the private one is readable by you only.", add_keygen_arguments, keygen),
    "sign": ("Sign a bundle; neither its files nor its version change.", add_sign_arguments, sign),
}
"""Command -> what it does, its options, and what runs it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    # Left to itself, SIGTERM would leave a half-written directory behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        options.run(options)
        if sys.stdout:
            sys.stdout.flush()
    except LimelightError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader has left, as `head` does.
        _discard_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        # Whoever names a file answers for it. What is left is standard output, on a full disk for example.
        _discard_output()
        return _fail(f"cannot write {error.filename or 'standard output'}: {error.strerror}.")
    return 0


def _run(options: argparse.Namespace) -> None:
    check_outputs(options.out, report=options.json)
    # TensorFlow takes seconds to import: --help and wrong usage should not wait for it.
    from export.exporter import export_model  # noqa: PLC0415

    exported = export_model(options.model, options.out, name=options.name, report=_report)
    if options.json:
        try:
            write_file(options.json, msgspec.json.format(msgspec.json.encode(exported), indent=2) + b"\n")
        except OSError as error:
            raise ExportError(
                f"cannot write {options.json}: {error.strerror}. The bundle is at {exported.bundle}"
            ) from error
    print(exported.bundle)


def _fail(message: str) -> int:
    # What TensorFlow and ONNX say inside our messages can run over several lines.
    print("error:", " ".join(message.split()), file=sys.stderr)
    return 1


def _discard_output() -> None:
    """Python would complain once more when it flushes standard output at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    if arguments and arguments[0] in SIGNING:
        name, rest = arguments[0], arguments[1:]
        description, declare, run = SIGNING[name]
        parser = argparse.ArgumentParser(prog=f"python -m export {name}", description=description)
        declare(parser)
    else:
        parser, run, rest = _build_parser(), _run, arguments
    parser.set_defaults(run=run)
    return parser.parse_args(rest)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Convert a SavedModel to an ONNX bundle, and check its answers against TensorFlow.",
        epilog="Bundles are signed with: python -m export keygen, python -m export sign (each with --help).",
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
