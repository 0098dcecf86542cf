"""A real training that is killed with SIGKILL, or whose disk fills up, and then resumed, ends bit for bit as one that
was not interrupted.
"""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from federated.reporting.history import load_history
from worker.messages import RoundRecord

pytestmark = pytest.mark.train

DEADLINE_SECONDS = 240
ROUNDS = 60
ALGORITHMS = ("fedavg", "scaffold")
SETTINGS = {
    "training.averaged_rounds": 5,
    "training.evaluate_every": 2,
    "training.patience": 30,
    "data.validation_clients": 0.3,
}


def program(*words: object, checkpoint_seconds: float | None) -> list[str]:
    """The command line; how often it saves can be changed, which is no option of the program."""
    if checkpoint_seconds is None:
        return [sys.executable, "-m", "federated", *map(str, words)]
    script = (
        "import sys, federated.run_state; from federated.__main__ import main;"
        f"federated.run_state.CHECKPOINT_SECONDS = {checkpoint_seconds}; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", script, *map(str, words)]


@pytest.fixture(scope="module")
def small(train_command):
    """The options of a small training with an algorithm."""

    def build(algorithm: str) -> list[str]:
        settings = {**SETTINGS, "training.algorithm": algorithm}
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        command = train_command("--preset", "demo", "--rounds", ROUNDS, "--seed", 7, *words)
        return command[command.index("train") :]

    return build


def weights(model: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (model / "variables").iterdir() if "data" in path.name}


def figures(logs: Path) -> list[tuple[object, ...]]:
    return [(record.round, record.clients, record.train, record.heldout) for record in load_history(logs)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, small):
    """Models of trainings that nothing interrupts, by algorithm."""
    models = {}
    for algorithm in ALGORITHMS:
        models[algorithm] = tmp_path_factory.mktemp("whole") / "model"
        command = program(*small(algorithm), "--out", models[algorithm], checkpoint_seconds=None)
        subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE_SECONDS)
    return models


def test_the_models_to_compare_with_differ(whole):
    one, other = (weights(model) for model in whole.values())
    assert one != other


# The first saves as rarely as usual; the second after every round, and its clients keep states of their own.
@pytest.mark.parametrize("case", [("fedavg", 2, None), ("scaffold", 9, 0)], ids=ALGORITHMS)
def test_killed_in_a_round_and_resumed_it_ends_bit_for_bit_the_same(tmp_path, whole, small, case, kill_after):
    algorithm, killed_after, checkpoint_seconds = case
    model, logs = tmp_path / "model", tmp_path / "model-logs"
    records = logs / "rounds.jsonl"
    command = program(*small(algorithm), "--out", model, checkpoint_seconds=checkpoint_seconds)
    kill_after(killed_after, command, records)
    done = msgspec.json.Decoder(RoundRecord).decode_lines(records.read_bytes().rpartition(b"\n")[0])
    assert killed_after <= done[-1].round < ROUNDS, "it was not killed in the middle"
    assert not model.exists()
    assert (logs / "checkpoint").stat().st_mode & 0o077 == 0

    refused = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert refused.returncode == 1
    assert f"holds a run that is not finished. Go on with it: python -m federated resume {logs}" in refused.stderr

    again = program("resume", logs, checkpoint_seconds=checkpoint_seconds)
    resumed = subprocess.run(again, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert weights(model) == weights(whole[algorithm])
    assert figures(logs) == figures(Path(f"{whole[algorithm]}-logs"))
    assert not (logs / "checkpoint").exists()
    assert not (logs / "clients").exists()

    finished = subprocess.run(again, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert "holds a run that is finished" in finished.stderr


FULL_DISK = """
import resource, sys, federated.run_state as run_state
from federated.__main__ import main
save, run_state.CHECKPOINT_SECONDS = run_state.Keeper.save, 0
def fill_up(self, **options):
    if self._run.number == 6:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    save(self, **options)
run_state.Keeper.save = fill_up
sys.exit(main(sys.argv[1:]))
"""
"""Lets no file grow beyond 1,000 bytes from the sixth checkpoint on, as a full disk does."""


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_disk_that_fills_up_ends_the_run_in_one_line_and_with_room_it_goes_on(tmp_path, whole, small, algorithm):
    model, logs = tmp_path / "model", tmp_path / "model-logs"
    command = [sys.executable, "-c", FULL_DISK, *map(str, small(algorithm)), "--out", str(model)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    *_, line = run.stderr.splitlines()
    assert line.startswith("error: cannot write the checkpoint ")
    assert line.endswith("File too large. The last one is intact: make room, and resume.")
    assert "Traceback" not in run.stderr
    assert not model.exists()

    again = program("resume", logs, checkpoint_seconds=None)
    resumed = subprocess.run(again, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert resumed.returncode == 0, resumed.stderr
    assert f"round 6/{ROUNDS}:" in resumed.stderr
    assert f"round 5/{ROUNDS}:" not in resumed.stderr
    assert weights(model) == weights(whole[algorithm])
