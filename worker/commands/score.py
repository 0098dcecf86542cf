"""``python -m worker score``: from a file of events to a file of predictions, without Kafka."""

import argparse
import sys
from contextlib import ExitStack, nullcontext
from pathlib import Path

from worker.building import build_model
from worker.clock import SystemClock
from worker.errors import RecordError, SettingsError
from worker.opening import find_bundle
from worker.settings import Settings
from worker.transport.files import STANDARD_STREAM, encode_refusal, open_input, open_output, read_slices


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--bundle", type=Path, help="model bundle; default: LIMELIGHT_BUNDLE")
    parser.add_argument("--input", default=STANDARD_STREAM, help="one JSON event a line; - is standard input (default)")
    parser.add_argument(
        "--output", default=STANDARD_STREAM, help="one Prediction a line; - is standard output (default)"
    )
    parser.add_argument(
        "--dead-letters",
        help="refused lines with their reason; default: OUTPUT.dlq, or standard error with --output -",
    )


def may_have_neighbour(output: str) -> bool:
    """Whether ``OUTPUT.dlq`` is a sensible file."""
    return not Path(output).exists() or Path(output).is_file()


def run(arguments: argparse.Namespace) -> int:
    """Answers every line once, in order."""
    settings = Settings.from_environment(bundle=arguments.bundle)
    answerer = build_model(settings, lambda _: nullcontext(), find_bundle(settings)).answerer
    to_stream = arguments.output == STANDARD_STREAM
    if arguments.dead_letters is None and not to_stream and not may_have_neighbour(arguments.output):
        raise SettingsError(f"{arguments.output} is no ordinary file: say with --dead-letters where refused lines go.")
    if arguments.dead_letters == arguments.output and not to_stream:
        raise SettingsError("--output and --dead-letters name the same file. Give them different names.")
    topic = "stdin" if arguments.input == STANDARD_STREAM else Path(arguments.input).name
    predictions = refused = 0
    with ExitStack() as opened:
        events = opened.enter_context(open_input(arguments.input))
        output = opened.enter_context(open_output(arguments.output))
        if arguments.dead_letters is None and to_stream:
            letters = sys.stderr.buffer
        else:
            letters = opened.enter_context(open_output(arguments.dead_letters or f"{arguments.output}.dlq"))
        slices = read_slices(events, topic=topic, slice_records=settings.slice_records, clock=SystemClock())
        for records in slices:
            for record, answer in zip(records, answerer.answer(records), strict=True):
                if isinstance(answer, RecordError):
                    letters.write(encode_refusal(record, answer, group_id="score") + b"\n")
                    refused += 1
                elif isinstance(answer, bytes):
                    output.write(answer + b"\n")
                    predictions += 1
            # Whoever reads a pipe wants the answers now, not when a buffer is full.
            output.flush()
    print(f"{predictions} predictions, {refused} dead letters", file=sys.stderr)
    return 0
