"""``python -m worker run``: score a topic, as it grows or a stretch of its past."""

import argparse
from pathlib import Path

from worker.app import StreamWorker
from worker.backfill import backfill_settings, prepare
from worker.commands import _types as types
from worker.commands._leaving import INTERRUPTED
from worker.errors import SettingsError
from worker.logs import configure
from worker.ports import Offsets
from worker.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--bundle", type=Path, help="model bundle; default: LIMELIGHT_BUNDLE")
    backfill = parser.add_argument_group(
        "backfill",
        "answer a stretch of the past into a topic of its own, in a group of its own (GROUP.backfill.TOPIC), and end; "
        "refused records go to LIMELIGHT_DEAD_LETTER_TOPIC, which may be another than that of the live workers",
    )
    backfill.add_argument("--from", dest="begin", type=types.begin, metavar="TIME", help=types.BEGIN)
    backfill.add_argument(
        "--until", type=types.begin, metavar="TIME", help="the same; default: end, as it is when the run begins"
    )
    backfill.add_argument("--output-topic", type=types.topic, metavar="T", help="takes the predictions of the backfill")
    parser.add_argument("--ready-file", type=Path, help="write the health port and start times here once ready (JSON)")


def run(arguments: argparse.Namespace) -> int:
    """Runs until a signal ends it, or the backfill is complete."""
    settings = Settings.from_environment(bundle=arguments.bundle)
    if arguments.ready_file is not None and not arguments.ready_file.parent.is_dir():
        raise SettingsError(f"--ready-file {arguments.ready_file}: its directory does not exist. Create it first.")
    configure(settings.log_format, settings.log_level)
    until: Offsets | None = None
    if arguments.begin is not None:
        if arguments.output_topic is None:
            raise SettingsError("--from needs --output-topic: a backfill answers into a topic of its own.")
        settings = backfill_settings(settings, output_topic=arguments.output_topic)
        until = prepare(settings, begin=arguments.begin, until=arguments.until or "end")
    elif arguments.until is not None or arguments.output_topic is not None:
        raise SettingsError("--until and --output-topic belong to a backfill. Say with --from where it begins.")
    is_complete = StreamWorker(settings, ready_file=arguments.ready_file, until=until).run()
    return 0 if is_complete else INTERRUPTED
