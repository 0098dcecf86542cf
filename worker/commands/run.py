"""``python -m worker run``: score a topic, as it grows or a stretch of its past."""

import argparse
from pathlib import Path

from worker.app import StreamWorker
from worker.backfill import backfill_settings, prepare
from worker.beginning import Begin
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
        "answer a stretch of the past into topics of its own, in a group of its own (GROUP.backfill.TOPIC), and end; "
        "the same command goes on where it was stopped",
    )
    backfill.add_argument("--from", dest="begin", type=_beginning, metavar="TIME", help=types.BEGIN)
    backfill.add_argument(
        "--until", type=types.begin, metavar="TIME", help="the same; default: end, as it is when the run begins"
    )
    backfill.add_argument("--output-topic", type=types.topic, metavar="T", help="takes the predictions of the backfill")
    backfill.add_argument(
        "--dead-letter-topic", type=types.topic, metavar="D", help="takes what the backfill refuses; default: T.dlq"
    )
    parser.add_argument("--ready-file", type=Path, help="write the health port and start times here once ready (JSON)")


def _beginning(text: str) -> tuple[str, Begin]:
    return text, types.begin(text)


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
        settings = backfill_settings(
            settings, output_topic=arguments.output_topic, dead_letter_topic=arguments.dead_letter_topic
        )
        asked, begin = arguments.begin
        until = prepare(settings, begin=begin, asked=asked, until=arguments.until or "end")
    elif any(each is not None for each in (arguments.until, arguments.output_topic, arguments.dead_letter_topic)):
        raise SettingsError(
            "--until, --output-topic and --dead-letter-topic belong to a backfill. Say with --from where it begins."
        )
    is_complete = StreamWorker(settings, ready_file=arguments.ready_file, until=until).run()
    return 0 if is_complete else INTERRUPTED
