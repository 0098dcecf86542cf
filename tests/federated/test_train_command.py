"""`python -m federated train`, typed as a user types it."""

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from federated.data.store import ClientStore
from worker.messages import RoundRecord

pytestmark = pytest.mark.train

DEADLINE_SECONDS = 120.0
LISTENING = "0A"
"""State of a socket in /proc/net/tcp."""


def test_the_figures_say_what_the_run_did(trained):
    figures = dict(trained.figures)
    assert 0 < figures.pop("heldout_accuracy") < 1
    assert 0 < figures.pop("heldout_macro_f1") < 1
    recall = figures.pop("heldout_recall")
    assert len(recall) == 6
    assert all(0 <= value <= 1 for value in recall.values())
    assert 0 < figures.pop("seconds") < DEADLINE_SECONDS
    assert figures == {"engine": "xla", "rounds": 3, "clients": 6, "skipped_rounds": 0, "out": str(trained.out)}


def test_prints_one_line_and_reports_rounds_plainly_where_there_is_no_terminal(trained):
    assert trained.stdout.startswith(f"{trained.out}: 3 rounds, 6 clients")
    assert trained.stdout.count("\n") == 1
    first, note, *lines = [line for line in trained.stderr.splitlines() if not line.startswith("warning: this system")]
    assert first.startswith("6 clients with 540 examples, 60 held out; 6 labels")
    assert note == "note: 10 clients a round were asked for, 6 train: every round has all"
    assert [line.split(":")[0] for line in lines] == ["round 1/3", "round 2/3", "round 3/3"]
    assert "held-out accuracy" in lines[-1]


def test_every_round_is_on_record(trained):
    lines = (trained.logs / "rounds.jsonl").read_bytes()
    records = msgspec.json.Decoder(RoundRecord).decode_lines(lines)
    assert [(record.round, record.rounds) for record in records] == [(1, 3), (2, 3), (3, 3)]
    assert all(0 < record.train["loss"] < 10 and record.seconds > 0 for record in records)
    assert records[-1].heldout["accuracy"] == trained.figures["heldout_accuracy"]
    assert records[0].heldout is msgspec.UNSET


def test_tensorboard_shows_the_same(trained, read_tensorboard):
    shown = read_tensorboard(trained.logs)
    records = msgspec.json.Decoder(RoundRecord).decode_lines((trained.logs / "rounds.jsonl").read_bytes())
    losses = [(record.round, pytest.approx(record.train["loss"])) for record in records]
    assert shown["train/loss"] == losses
    assert shown["heldout/accuracy"] == [(3, pytest.approx(trained.figures["heldout_accuracy"]))]


def test_mlflow_shows_the_same(trained, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(trained.mlflow.as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("limelight").experiment_id])
    records = msgspec.json.Decoder(RoundRecord).decode_lines((trained.logs / "rounds.jsonl").read_bytes())
    assert (run.info.run_name, run.info.status) == (records[0].run, "FINISHED")
    told = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in told] == [(record.round, record.train["loss"]) for record in records]


def test_what_clients_wrote_is_in_no_log_and_on_no_screen(trained):
    store = ClientStore(trained.logs / "store")
    assert (trained.logs / "store").stat().st_mode & 0o077 == 0
    texts = [store.text(row).encode() for row in range(len(store))]
    logs = [path for path in trained.logs.rglob("*") if path.is_file() and path.parent.name != "store"]
    assert {"rounds.jsonl", "run.json"} < {path.name for path in logs}
    said = b"".join(path.read_bytes() for path in logs) + (trained.stdout + trained.stderr).encode()
    assert not [text for text in texts if text in said]


def test_training_that_diverges_writes_no_model(tmp_path, train_command):
    """After a single step of this size all weights are finite, but what the model computes from them is not."""
    rates = ["--set", "training.server_learning_rate=1e30", "--set", "model.encoder=simple_rnn"]
    command = train_command("--preset", "demo", "--rounds", 1, *rates, "--out", tmp_path / "model")
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    *_, line = run.stderr.splitlines()
    assert line.startswith("error: training diverged in round 1 of 1: an answer to a held-out example is not finite.")
    assert "(1e+30) of preset demo" in line
    assert "Traceback" not in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model-logs"]


def test_what_diverges_keeps_its_last_good_state(tmp_path, train_command):
    """Its weights are finite after one round of such steps, and no longer after two."""
    rates = ["--set", "training.server_learning_rate=1e30", "--set", "model.encoder=simple_rnn"]
    command = train_command("--preset", "demo", "--rounds", 3, *rates, "--out", tmp_path / "model")
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    *_, line = run.stderr.splitlines()
    assert line.startswith("error: training diverged in round 2 of 3: no client's update is finite.")
    assert "in another --log-dir: resumed as it is, this run would diverge again" in line
    logs = tmp_path / "model-logs"
    kept = (logs / "checkpoint").read_bytes()
    resume = [*command[: command.index("train")], "resume", str(logs)]
    again = subprocess.run(resume, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert again.stderr.splitlines()[-1] == line
    assert "round 1/3" not in again.stderr, "it did not go on where it was"
    assert (logs / "checkpoint").read_bytes() == kept


class Run(NamedTuple):
    """A trainer in the middle of its rounds."""

    trainer: subprocess.Popen
    descendants: list[int]
    port: int


@contextlib.contextmanager
def training(directory: Path, train_command: Callable[..., list[str]], wait_for: Callable[..., None]) -> Iterator[Run]:
    # A SimpleRNN: TensorFlow traces it in half the time.
    encoder = "model.encoder=simple_rnn"
    length = ["--engine", "tff", "--rounds", 1_000_000]
    command = train_command("--preset", "demo", *length, "--set", encoder, "--out", directory / "model")
    records = directory / "model-logs" / "rounds.jsonl"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as trainer:
        try:
            wait_for(
                lambda: trainer.poll() is not None or (records.exists() and records.stat().st_size),
                seconds=DEADLINE_SECONDS,
            )
            assert trainer.poll() is None, trainer.stderr.read()
            (jail,) = children(trainer.pid)
            (worker,) = children(jail)
            words = Path(f"/proc/{worker}/cmdline").read_text().split("\0")
            (port,) = [int(word.removeprefix("--port=")) for word in words if word.startswith("--port=")]
            yield Run(trainer, [jail, worker], port)
        finally:
            trainer.kill()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_gone(pid: int) -> bool:
    """Whether the process has ended with all of its threads; its parent may still have to read the status."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "Z" and len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    except FileNotFoundError:
        return True


def listening_ports(network_of: int | str) -> set[int]:
    """Ports of the listening sockets in the network of a process."""
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{network_of}/net/{table}").read_text().splitlines()[1:]
    ]
    return {int(local.rpartition(":")[2], 16) for _, local, _, state, *_ in lines if state == LISTENING}


@pytest.mark.parametrize(
    ("number", "status"),
    [
        pytest.param(signal.SIGKILL, -signal.SIGKILL, id="SIGKILL"),
        pytest.param(signal.SIGTERM, 128 + signal.SIGTERM, id="SIGTERM"),
        pytest.param(signal.SIGINT, 128 + signal.SIGINT, id="Ctrl-C"),
    ],
)
def test_a_trainer_that_is_stopped_in_a_round_leaves_no_process_no_listener_and_no_model(
    tmp_path, train_command, wait_for, number, status
):
    with training(tmp_path, train_command, wait_for) as run:
        worker = run.descendants[-1]
        assert run.port in listening_ports(worker)
        if Path(f"/proc/{worker}/ns/net").readlink() != Path("/proc/self/ns/net").readlink():
            assert run.port not in listening_ports("self"), "the worker can be reached from outside"
        run.trainer.send_signal(number)
        assert run.trainer.wait(DEADLINE_SECONDS) == status
        stderr = run.trainer.stderr.read()
    wait_for(lambda: all(map(is_gone, run.descendants)))
    assert run.port not in listening_ports("self")
    assert {path.name for path in tmp_path.iterdir()} == {"model-logs"}
    assert "Traceback" not in stderr
    if number != signal.SIGKILL:
        assert "interrupted: no model was written. Go on with: python -m federated resume " in stderr
