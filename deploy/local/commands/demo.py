"""``python -m deploy.local demo``: the whole route on this machine.

======  ============================================================
status  meaning
======  ============================================================
0       ``--once``: every record has exactly one answer, in order
1       something failed, or a record is lost, duplicated or changed
2       wrong usage
130     ended by Ctrl-C or SIGTERM
141     whoever read the output has left
======  ============================================================
"""

import argparse
import logging
import math
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from deploy.local.demo.errors import DemoError
from deploy.local.demo.options import LIVE_RATE, ONCE_RATE, ONCE_RECORDS, LabelledFile, Options
from deploy.local.demo.route import walk
from deploy.local.demo.run import Run
from deploy.local.demo.scene import Scene
from deploy.local.demo.view.picture import draw_svg
from deploy.local.demo.view.plain import PlainView
from deploy.local.demo.view.report import draw_summary
from deploy.local.demo.view.terminal import TerminalView
from deploy.local.destination import writable_file
from deploy.local.processes import interrupt_on_termination
from deploy.local.scratch import scratch_directory
from worker.files import write_file

INTERRUPTED = 128 + signal.SIGINT
MAX_WORKERS = 32
HIGHEST_PORT = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.set_defaults(refuse=parser.error)
    parser.add_argument(
        "--once",
        action="store_true",
        help="stop when every record is answered; status 0 only if none got lost or twice",
    )
    parser.add_argument(
        "--records",
        type=_positive(int),
        metavar="N",
        help=f"records to stream, 2 %% of them malformed (default: {ONCE_RECORDS} with --once, all that was kept with "
        "--once --data, otherwise no end)",
    )
    parser.add_argument(
        "--rate",
        type=_positive(float),
        metavar="R",
        help=f"records a second (default: {ONCE_RATE:.0f} with --once, which two cores sustain without a queue, "
        f"otherwise {LIVE_RATE:.0f})",
    )
    parser.add_argument(
        "--workers", type=_positive(int, MAX_WORKERS), default=2, metavar="N", help="workers in the group (default: 2)"
    )
    parser.add_argument(
        "--bootstrap-servers",
        type=_servers,
        metavar="ADDR",
        help="use this broker; the topics get names of their own there and are removed at the end (default: start one)",
    )
    parser.add_argument("--bundle", type=Path, metavar="PATH", help="use this model; skips training and export")
    parser.add_argument(
        "--rounds", type=_positive(int), metavar="N", help="federated rounds to train (default: the preset's)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="train on four fifths of this .csv, .jsonl, .parquet or .sqlite, stream the rest",
    )
    parser.add_argument("--text-field", metavar="F", help="its column with the text")
    parser.add_argument("--label-field", metavar="L", help="its column with the label")
    parser.add_argument("--json", type=writable_file, metavar="FILE", help="write the summary there (with --once)")
    parser.add_argument("--svg", type=writable_file, metavar="FILE", help="write the last view there, as a picture")


def run(arguments: argparse.Namespace) -> int:
    """Runs the demo and returns the exit status.

    Raises:
        LimelightError: something failed, or the audit found something.
    """
    options = _read_options(arguments)
    # What matters of the client's log reaches us as an exception; the rest would tear the picture.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    interrupt_on_termination()
    console, scene = Console(), Scene()
    try:
        with ExitStack() as stack:
            directory = stack.enter_context(scratch_directory("limelight-demo-"))
            show = _open_view(stack, console, scene)
            demo = stack.enter_context(Run(options, directory, scene, show=show))
            summary, audit = walk(demo)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        if arguments.svg:
            _write(arguments.svg, draw_svg(scene).encode())
    console.print()
    console.print(draw_summary(summary))
    if arguments.json:
        _write(arguments.json, msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
    if findings := audit.describe_findings():
        raise DemoError("; ".join(findings) + ".")
    return 0


def _open_view(stack: ExitStack, console: Console, scene: Scene) -> Callable[[Scene], None]:
    if not console.is_terminal or console.is_dumb_terminal:
        show = last = PlainView(sys.stdout).show
    else:
        view = stack.enter_context(TerminalView(console))
        show, last = view.show, view.draw
    stack.callback(last, scene)
    return show


def _write(file: Path, content: bytes) -> None:
    try:
        write_file(file, content)
    except OSError as error:
        raise DemoError(
            f"{file} cannot be written: {error.strerror}. Make room or change its rights, or give another file."
        ) from error


def _read_options(arguments: argparse.Namespace) -> Options:
    refuse: Callable[[str], Any] = arguments.refuse
    fields = {"--text-field": arguments.text_field, "--label-field": arguments.label_field}
    data = None
    if arguments.data is not None:
        if missing := [flag for flag, value in fields.items() if value is None]:
            refuse(f"--data needs {' and '.join(missing)}: the columns to read")
        data = LabelledFile(arguments.data, arguments.text_field, arguments.label_field)
    elif given := [flag for flag, value in fields.items() if value is not None]:
        refuse(f"{given[0]} describes a file, but there is no --data")
    if arguments.rounds is not None and arguments.bundle is not None:
        refuse("--rounds is for training, which --bundle skips")
    if arguments.json is not None and not arguments.once:
        refuse("--json needs --once: a stream without an end has no summary")
    return Options(
        once=arguments.once,
        bootstrap_servers=arguments.bootstrap_servers,
        workers=arguments.workers,
        bundle=arguments.bundle,
        data=data,
        rounds=arguments.rounds,
        given_records=arguments.records,
        given_rate=arguments.rate,
    )


def _servers(text: str) -> str:
    servers = [server.strip() for server in text.split(",")]
    for server in servers:
        host, _, port = server.rpartition(":")
        is_port = port.isdecimal() and 1 <= int(port) <= HIGHEST_PORT
        if not host or " " in host or not is_port:
            raise argparse.ArgumentTypeError(f"{server!r} is not host:port; several are separated by commas")
    return ",".join(servers)


def _positive(kind: Callable[[str], float], most: float = math.inf) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value <= most or math.isinf(value):
            limit = "" if math.isinf(most) else f" up to {most}"
            whole = " whole" if kind is int else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not a positive{whole} number{limit}")
        return value

    return number
