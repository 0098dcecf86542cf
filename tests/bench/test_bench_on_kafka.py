"""A bench of a few hundred records on a real broker: every kind of figure comes out, and nothing stays behind."""

import csv
import shlex
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from xml.etree import ElementTree

import msgspec
import pytest
from kafka import KafkaAdminClient

from worker.__main__ import main
from worker.bench.figures import Figures

pytestmark = pytest.mark.kafka

RECORDS = 400
ONCE = ["--repetitions", "1", "--warm-up-runs", "1"]
LAYERS = ["model", "memory", "exactly-once", "processes", "peer", "latency", "stages"]
ROOT = Path(__file__).parents[2]
WORKER = shlex.join([sys.executable, "-m", "worker", "run"])


class Benched(NamedTuple):
    """What one bench wrote."""

    figures: Figures
    csv: str
    markdown: str
    chart: str


@pytest.fixture(scope="module")
def benched(broker: str, lstm_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Benched:
    """All kinds of layers, once, with one client; a second worker of ours is the peer."""
    directory = tmp_path_factory.mktemp("bench")
    files = {name: directory / name for name in ("json", "csv", "markdown", "chart")}
    written = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    order = ["--records", str(RECORDS), *ONCE, "--latency-seconds", "2.5", "--clients", "librdkafka"]
    where = ["--bundle", str(lstm_bundle), "--bootstrap-servers", broker]
    assert main(["bench", *where, *order, "--layers", *LAYERS, "--peer", WORKER, *written]) == 0
    figures = msgspec.json.decode(files.pop("json").read_bytes(), type=Figures)
    return Benched(figures, **{name: path.read_text() for name, path in files.items()})


def test_every_layer_has_its_rate_and_its_share_of_the_model(benched: Benched) -> None:
    assert [each.layer for each in benched.figures.throughput] == LAYERS[:5]
    for each in benched.figures.throughput:
        assert each.rates == [each.median]
        assert each.median > 0
        assert each.ratio is not None
    assert benched.figures.throughput[0].ratio == 1
    assert benched.figures.skipped == []


def test_the_latency_is_that_of_a_load_that_the_worker_can_bear(benched: Benched) -> None:
    [latency] = benched.figures.latency
    assert latency.records > 0
    assert 0 < latency.median_p50_ms <= latency.median_p99_ms
    assert all(late_ms > 0 for late_ms in latency.sent_late_p99_ms)
    assert all(busy is None or 0 < busy <= 1 for busy in latency.busy)


def test_the_stages_account_for_the_cpu_time_of_each_record(benched: Benched) -> None:
    [stages] = benched.figures.stages
    assert set(stages.microseconds) == {"poll", "decode", "features", "score", "encode", "deliver", "other"}
    assert 0 < stages.records <= RECORDS
    assert sum(stages.microseconds.values()) == pytest.approx(stages.total, rel=0.05)


def test_tables_and_picture_are_those_of_the_figures(benched: Benched) -> None:
    rows = list(csv.DictReader(benched.csv.splitlines()))
    assert [float(row["median"]) for row in rows] == [each.median for each in benched.figures.throughput]
    assert all(f"| {each.title} |" in benched.markdown for each in benched.figures.throughput)
    assert len(list(ElementTree.fromstring(benched.chart).iter("{http://www.w3.org/2000/svg}rect"))) == 5 + 7 + 7


def test_no_topic_stays_behind(benched: Benched, broker: str) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=broker)) as admin:
        assert [topic for topic in admin.list_topics() if topic.startswith("limelight.bench.")] == []


def test_a_peer_that_dies_ends_the_bench_with_its_last_words(
    broker: str, lstm_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = shlex.join([sys.executable, "-c", "import sys; sys.exit('out of steam')"])
    where = ["--bundle", str(lstm_bundle), "--bootstrap-servers", broker, "--records", "50", *ONCE]
    assert main(["bench", *where, "--layers", "peer", "--clients", "librdkafka", "--peer", peer]) == 1
    assert "error: peer, exactly once ended with status 1 before it was done: out of steam" in capsys.readouterr().err


def test_the_peer_of_make_bench_does_the_work_of_the_worker(
    broker: str,
    lstm_bundle: Path,
    peers_environment: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        python = peers_environment.find_or_make()
    except peers_environment.PeersUnavailableError as error:
        pytest.skip(f"the peers' environment cannot be made: {error}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    peer = shlex.join([str(python), str(Path(__file__).parent / "peers/quix.py")])
    where = ["--bundle", str(lstm_bundle), "--bootstrap-servers", broker, "--records", "250", *ONCE]
    # Every answer is counted, and a sample compared with the worker's.
    status = main(["bench", *where, "--layers", "exactly-once", "peer", "--clients", "librdkafka", "--peer", peer])
    assert status == 0, capsys.readouterr().err
    assert "| peer, exactly once |" in capsys.readouterr().out
