import os
import pty
import subprocess
import sys

import msgspec
import pytest

from federated.progress import describe
from worker.messages import RoundRecord

pytestmark = pytest.mark.fast

SCRIPT = """
import msgspec
from federated.progress import show_progress
from worker.messages import RoundRecord
with show_progress(2) as show:
    for line in {lines!r}:
        show(msgspec.json.decode(line, type=RoundRecord))
"""


def record(number: int, **fields: object) -> RoundRecord:
    return RoundRecord(
        run="test",
        round=number,
        rounds=2,
        timestamp_ms=0,
        seconds=1.25,
        clients=[3, 5],
        examples=40,
        train={"loss": 0.75, "accuracy": 0.5},
        **fields,
    )


RECORDS = [record(1), record(2, heldout={"accuracy": 0.875, "macro_f1": 0.8})]


def test_a_round_is_one_plain_line():
    assert [describe(record) for record in RECORDS] == [
        "round 1/2: 1.2 s, 2 clients, 40 examples, loss 0.750",
        "round 2/2: 1.2 s, 2 clients, 40 examples, loss 0.750, held-out accuracy 0.875, macro-F1 0.800",
    ]


def test_what_was_refused_is_counted_in_the_line():
    refused = record(1)
    refused.train.update(refused=2.0, epsilon=1.5)
    assert describe(refused).endswith(", loss 0.750, 2 updates refused, not finite, epsilon 1.50")
    refused.train["refused"] = 0.0
    assert describe(refused).endswith(", loss 0.750, epsilon 1.50")


def test_a_private_round_without_a_loss_is_told_too():
    silent = msgspec.structs.replace(record(1), clients=[], train={"epsilon": 1.5})
    assert describe(silent) == "round 1/2: 1.2 s, a private cohort, epsilon 1.50"


def script() -> str:
    return SCRIPT.format(lines=[msgspec.json.encode(record) for record in RECORDS])


def test_without_a_terminal_the_lines_go_to_standard_error():
    run = subprocess.run([sys.executable, "-c", script()], capture_output=True, text=True, check=True)
    assert run.stderr.splitlines() == [describe(record) for record in RECORDS]
    assert run.stdout == ""


def test_a_cohort_smaller_than_asked_is_noted_once():
    few = [msgspec.structs.replace(record(number), train={"loss": 0.75, "missing": 3.0}) for number in (1, 2)]
    lines = [msgspec.json.encode(one) for one in (record(1), *few)]
    command = [sys.executable, "-c", SCRIPT.format(lines=lines)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line for line in run.stderr.splitlines() if line.startswith("note")] == [
        "note: round 1 lacks 3 clients that were asked for; see train.missing"
    ]


def test_a_terminal_gets_a_bar_that_counts_the_rounds():
    reader, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    run = subprocess.run(
        [sys.executable, "-c", script()], stderr=terminal, stdout=subprocess.PIPE, env=environment, check=True
    )
    os.close(terminal)
    shown = b""
    # Linux ends a terminal without writers with an error, not with an empty read.
    while chunk := read_or_nothing(reader):
        shown += chunk
    os.close(reader)
    assert "2/2" in shown.decode()
    assert "held-out accuracy 0.875" in shown.decode()
    assert run.stdout == b""


def read_or_nothing(reader: int) -> bytes:
    try:
        return os.read(reader, 4096)
    except OSError:
        return b""
