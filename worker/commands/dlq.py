"""``python -m worker dlq {inspect,export,replay}``: refused records, and what can be done about them."""

import argparse
import heapq
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec

from worker.commands import _types as types
from worker.commands._dlq_replay import replay_letters
from worker.dead_letters.export import encode_letter
from worker.dead_letters.letter import Letter, Selection, read_letter
from worker.dead_letters.listing import describe, line
from worker.settings import Settings
from worker.transport.files import open_output
from worker.transport.kafka_python.properties import client_properties
from worker.transport.kafka_python.reader import KafkaReader

INSPECT = "Lists the dead letters: where each record came from, why it was refused, how large it is."
EXPORT = "Writes the dead letters as JSON Lines with all it takes to rebuild the records. The file is whole or absent."
REPLAY = (
    "Sends the original records of the dead letters to the input topic once more, up to the letters that are there "
    "when the replay begins. Records and progress are written in one transaction: run it again with the same options "
    "after a crash, and nothing is sent twice. Another --id is another replay, which also sends what the first one "
    "sent: say with --from where it should begin. The brokers remember an --id for 7 days after its last step, unless "
    "offsets.retention.minutes says otherwise."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `inspect`, `export` and `replay`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument(
        "--from",
        dest="begin",
        type=types.typed_begin,
        default="beginning",
        metavar="TIME",
        help=f"only those since: {types.BEGIN}; default: beginning",
    )
    chosen.add_argument("--stage", help="only those refused at this stage, such as decode or validate")
    chosen.add_argument("--error", help="only those refused with this error, such as ValidationError")

    inspect = actions.add_parser("inspect", parents=[chosen], help="list the dead letters", description=INSPECT)
    inspect.add_argument("--count", type=types.count, metavar="N", help="the newest N; default: all, as they are read")
    inspect.add_argument("--json", action="store_true", help="one JSON object a line")
    inspect.add_argument("--show-value", action="store_true", help="also how the value begins; it may be personal")

    export = actions.add_parser("export", parents=[chosen], help="write the dead letters to a file", description=EXPORT)
    export.add_argument("--output", required=True, metavar="FILE", help="- is standard output")

    replay = actions.add_parser("replay", parents=[chosen], help="score the dead letters again", description=REPLAY)
    replay.add_argument("--id", type=types.name, required=True, metavar="X", help="name of this replay")
    replay.add_argument(
        "--to-topic",
        type=types.topic,
        metavar="T",
        help="default: the topic that each came from, of those that LIMELIGHT_INPUT_TOPIC and LIMELIGHT_ROUTES name",
    )
    replay.add_argument(
        "--max-replays", type=types.count, default=3, metavar="N", help="leave what was replayed so often (default: 3)"
    )
    replay.add_argument("--dry-run", action="store_true", help="only count")


def run(arguments: argparse.Namespace) -> int:
    """Does what was asked."""
    settings = Settings.from_environment()
    selection = Selection(arguments.stage, arguments.error)
    _, begin = arguments.begin
    reader = KafkaReader(client_properties(settings), topic=settings.dead_letter_topic, begin=begin)
    with closing(reader):
        match arguments.action:
            case "inspect":
                _inspect(reader, selection, arguments)
            case "export":
                _export(reader, selection, arguments.output)
            case "replay":
                replay_letters(settings, reader, selection, arguments)
    return 0


def _read(reader: KafkaReader) -> Iterator[Letter]:
    for records in reader.read_until(reader.ends()):
        yield from map(read_letter, records)


def _inspect(reader: KafkaReader, selection: Selection, arguments: argparse.Namespace) -> None:
    seen: Counter[str] = Counter()

    def render(letter: Letter) -> str:
        if arguments.json:
            return msgspec.json.encode(describe(letter, show_value=arguments.show_value)).decode()
        return line(letter, show_value=arguments.show_value)

    def rows() -> Iterator[tuple[int, Any, str]]:
        for letter in _read(reader):
            seen[letter.refusal.stage if letter.refusal else "not by a worker"] += 1
            if selection.takes(letter):
                # Rendered at once: a line is all that is kept of a record.
                yield letter.record.timestamp_ms, letter.record.position, render(letter)

    chosen = rows() if arguments.count is None else sorted(heapq.nlargest(arguments.count, rows()))
    listed = 0
    for _, _, text in chosen:
        print(text)
        listed += 1
    stages = ", ".join(f"{stage} {count}" for stage, count in sorted(seen.items()))
    print(f"{listed} of {seen.total()} dead letters listed{f' ({stages})' if stages else ''}", file=sys.stderr)


def _export(reader: KafkaReader, selection: Selection, output: str) -> None:
    count = 0
    with open_output(output) as file:
        for letter in _read(reader):
            if selection.takes(letter):
                file.write(encode_letter(letter) + b"\n")
                count += 1
    print(f"{count} dead letters written", file=sys.stderr)
