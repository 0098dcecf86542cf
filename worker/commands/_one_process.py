"""``python -m worker run`` in the process that scores."""

import argparse
import sys

from worker.app import StreamWorker
from worker.backfill import backfill_settings, prepare
from worker.commands._leaving import INTERRUPTED
from worker.errors import LimelightError
from worker.fleet.supervisor import HOPELESS
from worker.logs import configure
from worker.ports import Offsets
from worker.process.share import ALONE, Share
from worker.settings import Settings


def run_as_member(arguments: argparse.Namespace) -> int:
    """Runs one of several processes, whose parent is told whether it makes sense to start it again.

    Raises:
        LimelightError: it does.
    """
    try:
        return run_process(arguments, share=arguments.process)
    except LimelightError as error:
        if error.retriable:
            raise
        print(error.line(), file=sys.stderr)
        return HOPELESS


def run_process(arguments: argparse.Namespace, *, share: Share = ALONE) -> int:
    """Runs until a signal ends it, or the backfill is complete."""
    settings = Settings.from_environment(bundle=arguments.bundle)
    configure(settings.log_format, settings.log_level, process=None if share == ALONE else share.process)
    until: Offsets | None = None
    if arguments.begin is not None:
        settings = backfill_settings(
            settings, output_topic=arguments.output_topic, dead_letter_topic=arguments.dead_letter_topic
        )
        asked, begin = arguments.begin
        until = prepare(settings, begin=begin, asked=asked, until=arguments.until or "end")
    worker = StreamWorker(
        settings, ready_file=arguments.ready_file, until=until, share=share, is_paused=arguments.paused
    )
    return 0 if worker.run() else INTERRUPTED
