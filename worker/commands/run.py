"""``python -m worker run``: score a topic."""

import argparse
from pathlib import Path

from worker.app import StreamWorker
from worker.errors import SettingsError
from worker.logs import configure
from worker.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--bundle", type=Path, help="model bundle; default: LIMELIGHT_BUNDLE")
    parser.add_argument("--ready-file", type=Path, help="write the health port and start times here once ready (JSON)")


def run(arguments: argparse.Namespace) -> int:
    """Runs until a signal ends it."""
    settings = Settings.from_environment(bundle=arguments.bundle)
    if arguments.ready_file is not None and not arguments.ready_file.parent.is_dir():
        raise SettingsError(f"--ready-file {arguments.ready_file}: its directory does not exist. Create it first.")
    configure(settings.log_format, settings.log_level)
    StreamWorker(settings, ready_file=arguments.ready_file).run()
    return 0
