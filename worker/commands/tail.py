"""``python -m worker tail``: follow the predictions, each with the tokens that the model looked at."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial

import msgspec

from worker.commands import _types as types
from worker.commands._leaving import leaving_at_interrupt
from worker.messages import Prediction
from worker.ports import Record
from worker.settings import Settings
from worker.tinting import plain_line, tinted_line
from worker.transport.kafka_python.properties import client_properties
from worker.transport.kafka_python.reader import KafkaReader

Render = Callable[[Prediction], str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--topic", type=types.topic, metavar="T", help="default: LIMELIGHT_OUTPUT_TOPIC")
    parser.add_argument(
        "--from", dest="begin", type=types.begin, default="end", metavar="TIME", help=f"{types.BEGIN}; default: end"
    )
    parser.add_argument(
        "--count", type=types.count, metavar="N", help="end after N predictions; default: follow until Ctrl-C"
    )
    style = parser.add_mutually_exclusive_group()
    style.add_argument("--plain", action="store_true", help="weights as numbers; the default where no terminal reads")
    style.add_argument("--color", action="store_true", help="weights as colours, also into a pipe, as for less -R")


def run(arguments: argparse.Namespace) -> int:
    """Prints a line for each prediction. Joins no group and commits nothing."""
    settings = Settings.from_environment()
    render = choose_render(os.environ, plain=arguments.plain, color=arguments.color, is_terminal=sys.stdout.isatty())
    left: int | None = arguments.count
    topic = arguments.topic or settings.output_topic
    with (
        leaving_at_interrupt(),
        closing(KafkaReader(client_properties(settings), topic=topic, begin=arguments.begin)) as reader,
    ):
        while left is None or left > 0:
            lines = [line for record in reader.poll() if (line := _line(record, render)) is not None]
            for line in lines[:left]:
                print(line)
            sys.stdout.flush()
            left = None if left is None else left - len(lines)
    return 0


def choose_render(environment: Mapping[str, str], *, plain: bool, color: bool, is_terminal: bool) -> Render:
    """How to show a prediction: as the options say, or else as the terminal can, unless ``NO_COLOR`` asks not to."""
    capable = is_terminal and environment.get("TERM") != "dumb" and not environment.get("NO_COLOR")
    if plain or not (color or capable):
        return plain_line
    return partial(tinted_line, truecolor=environment.get("COLORTERM") in ("truecolor", "24bit"))


def _line(record: Record, render: Render) -> str | None:
    """The record's line; None for what is no prediction, which is told and must not end a tail that runs for days."""
    try:
        return render(msgspec.json.decode(record.value or b"", type=Prediction))
    except (msgspec.DecodeError, ValueError) as error:
        print(f"{record.position} is no prediction: {error}", file=sys.stderr)
        return None
