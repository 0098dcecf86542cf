"""``python -m worker run``: score a topic, as it grows or a stretch of its past."""

import argparse
import re
from argparse import ArgumentTypeError
from pathlib import Path

from worker.commands import _types as types
from worker.errors import SettingsError
from worker.process.parentage import die_with_parent
from worker.process.share import Share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--bundle", type=Path, help="model bundle; default: LIMELIGHT_BUNDLE")
    parser.add_argument(
        "--processes",
        type=types.count,
        default=1,
        metavar="N",
        help="score in N processes that share the partitions and the processor, and are restarted when they die; "
        "pages and orders are those of one worker (default: %(default)s)",
    )
    backfill = parser.add_argument_group(
        "backfill",
        "answer a stretch of the past into topics of its own, in a group of its own (GROUP.backfill.TOPIC), and end; "
        "the same command goes on where it was stopped",
    )
    backfill.add_argument("--from", dest="begin", type=types.typed_begin, metavar="TIME", help=types.BEGIN)
    backfill.add_argument(
        "--until", type=types.begin, metavar="TIME", help="the same; default: end, as it is when the run begins"
    )
    backfill.add_argument("--output-topic", type=types.topic, metavar="T", help="takes the predictions of the backfill")
    backfill.add_argument(
        "--dead-letter-topic", type=types.topic, metavar="D", help="takes what the backfill refuses; default: T.dlq"
    )
    parser.add_argument("--ready-file", type=Path, help="write the health port and start times here once ready (JSON)")
    # What the parent of several processes tells each of them; see `worker.fleet.launch`.
    parser.add_argument("--process", type=_share, help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--paused", action="store_true", help=argparse.SUPPRESS)


def _share(text: str) -> Share:
    if not re.fullmatch(r"[0-9]+/[0-9]+", text):
        raise ArgumentTypeError(f"{text!r} is no share such as 0/2")
    process, _, processes = text.partition("/")
    return Share(int(process), int(processes))


def run(arguments: argparse.Namespace) -> int:
    """Runs until a signal ends it, or the backfill is complete."""
    if arguments.ready_file is not None and not arguments.ready_file.parent.is_dir():
        raise SettingsError(f"--ready-file {arguments.ready_file}: its directory does not exist. Create it first.")
    _check_backfill(arguments)
    if arguments.processes > 1:
        # Only what is needed: the parent of several processes takes a fraction of the memory of one that scores.
        from worker.fleet.run import run_processes  # noqa: PLC0415

        run_processes(arguments.processes, bundle=arguments.bundle, ready_file=arguments.ready_file)
        return 0
    if arguments.process is not None:
        die_with_parent(arguments.parent)  # before anything that takes a second
    from worker.commands._one_process import run_as_member, run_process  # noqa: PLC0415

    return run_process(arguments) if arguments.process is None else run_as_member(arguments)


def _check_backfill(arguments: argparse.Namespace) -> None:
    if arguments.begin is None:
        if any(each is not None for each in (arguments.until, arguments.output_topic, arguments.dead_letter_topic)):
            raise SettingsError(
                "--until, --output-topic and --dead-letter-topic belong to a backfill. Say with --from where it begins."
            )
    elif arguments.output_topic is None:
        raise SettingsError("--from needs --output-topic: a backfill answers into a topic of its own.")
    elif arguments.processes > 1:
        raise SettingsError(
            "--processes and --from exclude each other. Start the backfill's command several times instead: its group "
            "shares the work."
        )
