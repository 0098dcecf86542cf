"""Malformed records among events, and the lines that the events come from."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.demo.errors import DemoError
from deploy.local.demo.malformed import kind_of
from deploy.local.demo.material import CHUNK_RECORDS, FIRST_SEED, Generate, GeneratedLines, file_lines
from deploy.local.demo.traffic import BLOCK, mix
from deploy.local.processes import ChildProcess, stop_all

pytestmark = pytest.mark.fast

LINE = b'{"id": 1, "text": "late", "label": "delivery", "client": "client-7"}\n'


@given(seed=st.integers(0, 1000))
def test_each_block_has_one_malformed_record(seed: int) -> None:
    records = list(islice(mix(iter(lambda: LINE, b""), seed=seed, max_batch_bytes=5000), 4 * BLOCK))
    for start in range(0, 4 * BLOCK, BLOCK):
        assert sum(kind_of(record.headers) is not None for record in records[start : start + BLOCK]) == 1


def test_all_events_are_streamed_in_order_under_their_clients_key() -> None:
    lines = [json.dumps({"text": str(number), "client": f"c{number % 3}"}).encode() + b"\n" for number in range(120)]
    events = [record for record in mix(lines, seed=1, max_batch_bytes=5000) if kind_of(record.headers) is None]
    assert [record.value for record in events] == [line.rstrip() for line in lines]
    assert [record.key for record in events[:3]] == [b"c0", b"c1", b"c2"]
    assert all(record.headers == [] for record in events)


def test_an_event_without_a_client_has_no_key() -> None:
    (record,) = islice(mix([b'{"text": "late"}'] * 3, seed=3, max_batch_bytes=5000), 1)
    assert record.key is None


def test_a_file_is_streamed_once_or_again_and_again(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"1\n2\n")
    assert list(file_lines(file, endless=False)) == [b"1\n", b"2\n"]
    assert list(islice(file_lines(file, endless=True), 5)) == [b"1\n", b"2\n", b"1\n", b"2\n", b"1\n"]


@pytest.fixture
def generate(tmp_path: Path) -> Iterator[Generate]:
    """Writes lines ``<seed>``, as many as asked for."""
    started: list[ChildProcess] = []

    def start(records: int, seed: int, output: Path) -> ChildProcess:
        command = ["sh", "-c", f"yes {seed} | head -n {records} > {output}"]
        started.append(ChildProcess(command, name="generate", output=tmp_path / "log"))
        return started[-1]

    yield start
    stop_all(started)


def test_generated_lines_come_in_chunks_of_fresh_seeds(generate: Generate, tmp_path: Path) -> None:
    lines = list(GeneratedLines(generate, tmp_path, total=CHUNK_RECORDS + 2))
    assert lines == [f"{FIRST_SEED}\n".encode()] * CHUNK_RECORDS + [f"{FIRST_SEED + 1}\n".encode()] * 2
    assert list(tmp_path.glob("*.jsonl")) == []


def test_generated_lines_without_a_total_have_no_end(generate: Generate, tmp_path: Path) -> None:
    lines = list(islice(GeneratedLines(generate, tmp_path, total=None), 2 * CHUNK_RECORDS + 1))
    assert lines[-1] == f"{FIRST_SEED + 2}\n".encode()


def test_a_generator_that_fails_is_not_an_end_of_the_lines(tmp_path: Path) -> None:
    def start(records: int, seed: int, output: Path) -> ChildProcess:
        return ChildProcess(["sh", "-c", "echo no disk; exit 3"], name="generate", output=tmp_path / "log")

    with pytest.raises(DemoError, match="generate failed: no disk"):
        list(GeneratedLines(start, tmp_path, total=5))
