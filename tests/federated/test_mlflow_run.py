"""Rounds in MLflow's own store, in files: a server keeps them elsewhere and takes the same calls."""

import contextlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from msgspec import UNSET

from federated.__main__ import main
from federated.commands import running
from federated.config import load_config
from federated.errors import OutputError
from federated.mlflow_run import open_mlflow
from federated.run_directory import RunFile
from worker.messages import RoundRecord

pytestmark = pytest.mark.train


def record(number, *, loss=0.5):
    return RoundRecord(
        run="run-1",
        round=number,
        rounds=9,
        timestamp_ms=number,
        seconds=1.0,
        clients=[41],
        examples=2,
        train={"loss": loss},
        heldout={"accuracy": 0.8, "recall.what? 好": 0.7, "recall.what/../no": 0.6} if number % 2 else UNSET,
    )


@pytest.fixture
def file(tmp_path):
    config = load_config("demo", {"training.rounds": 9})
    return RunFile(run="run-1", config=config, out=str(tmp_path / "model"), environment={"machine": "x86_64"})


@pytest.fixture
def uri(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "runs").as_uri()


@pytest.fixture
def runs(uri):
    """Reads the runs of the experiment."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    return lambda: client.search_runs([client.get_experiment_by_name("limelight").experiment_id])


@pytest.fixture
def history(uri, runs):
    """Reads the points of a figure of the only run: round and value."""
    from mlflow import MlflowClient

    def read(name):
        (run,) = runs()
        return [(point.step, point.value) for point in MlflowClient(uri).get_metric_history(run.info.run_id, name)]

    return read


def test_settings_and_rounds_are_there(uri, file, runs, history):
    with open_mlflow(uri, file, resumed=False) as send:
        send(record(1))
        send(record(2, loss=0.25))
        (run,) = runs()
        assert run.info.status == "RUNNING"
    (run,) = runs()
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run-1")
    assert run.data.params["training.rounds"] == "9"
    assert run.data.params["model.encoder"] == file.config.model.encoder
    assert run.data.tags["environment/machine"] == "x86_64"
    assert history("train/loss") == [(1, 0.5), (2, 0.25)]
    assert history("heldout/accuracy") == [(1, 0.8)]
    assert history("heldout/recall.whatU003F 好") == [(1, 0.7)]
    assert history("heldout/recall.whatU002F..U002Fno") == [(1, 0.6)]


def test_a_run_that_is_resumed_goes_on_in_the_same_one(uri, file, runs, history):
    with contextlib.suppress(KeyboardInterrupt), open_mlflow(uri, file, resumed=False) as send:
        for number in (1, 2, 3):
            send(record(number))
        raise KeyboardInterrupt
    assert [run.info.status for run in runs()] == ["KILLED"]
    with open_mlflow(uri, file, resumed=True) as send:
        # Its checkpoint was that of round 1.
        for number in (2, 3, 4):
            send(record(number))
    assert [run.info.status for run in runs()] == ["FINISHED"]
    assert history("seconds") == [(1, 1), (2, 1), (3, 1), (4, 1)]


def test_a_new_run_never_goes_on_in_another_one(uri, file, runs):
    """Two trainings with outputs of one name can begin in the same second."""
    for _ in range(2):
        with open_mlflow(uri, file, resumed=False) as send:
            send(record(1))
    assert [run.info.run_name for run in runs()] == ["run-1", "run-1"]


def test_a_run_with_quotes_in_its_name_is_found_again(uri, file, runs):
    quoted = msgspec.structs.replace(file, run='it\'s "mine" `too`')
    for resumed in (False, True):
        with open_mlflow(uri, quoted, resumed=resumed):
            pass
    assert [run.info.run_name for run in runs()] == [quoted.run]


def test_a_run_that_is_resumed_and_was_not_there_begins_there(uri, file, runs, history):
    with open_mlflow(uri, file, resumed=True) as send:
        send(record(2))
    assert len(runs()) == 1
    assert history("seconds") == [(2, 1)]


def test_more_labels_than_mlflow_takes_at_once(uri, file, history):
    many = msgspec.structs.replace(record(1), heldout={f"recall.{label}": 0.5 for label in range(1_001)})
    with open_mlflow(uri, file, resumed=False) as send:
        send(many)
    assert history("heldout/recall.0") == history("heldout/recall.1000") == [(1, 0.5)]
    assert history("seconds") == [(1, 1)]


def test_a_training_that_fails_has_failed_there_too(uri, file, runs):
    with contextlib.suppress(ZeroDivisionError), open_mlflow(uri, file, resumed=False):
        raise ZeroDivisionError
    assert [run.info.status for run in runs()] == ["FAILED"]


def test_a_store_that_goes_away_is_said_once_and_ends_nothing(uri, file, tmp_path, capfd):
    with open_mlflow(uri, file, resumed=False) as send:
        send(record(1))
        for experiment in (tmp_path / "runs").glob("[!.]*"):  # all but the trash, which MLflow wants to find
            shutil.rmtree(experiment)
        send(record(2))
        send(record(3))
    said = capfd.readouterr().err
    assert said.count("note: rounds no longer go to MLflow; training goes on") == said.count("\n") == 1


class Tracking(ThreadingHTTPServer):
    """As much of MLflow's server as a run asks of it."""

    refuses = ""
    """The call that fails."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.calls = []
        """(call, body) of each."""

    def bodies(self, call):
        return [body for name, body in self.calls if name == call]


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply({})

    def do_POST(self):
        self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def reply(self, body):
        call = self.path.partition("/mlflow/")[2].partition("?")[0]
        self.server.calls.append((call, body))
        run = {"info": {"run_id": "7", "experiment_id": "1"}}
        answers = {
            "experiments/get-by-name": {"experiment": {"experiment_id": "1", "name": "limelight"}},
            "runs/create": {"run": run},
            "runs/get": {"run": run},
            "runs/update": {"run_info": run["info"]},
            "runs/log-batch": {},
        }
        refused = call not in answers or (call == self.server.refuses and "metrics" in body)
        content = {"error_code": "INVALID_PARAMETER_VALUE", "message": "no"} if refused else answers[call]
        self.send_response(400 if refused else 200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Tracking() as tracking:
        thread = threading.Thread(target=tracking.serve_forever)
        thread.start()
        yield tracking
        tracking.shutdown()
        thread.join()


@pytest.fixture
def address(server):
    return f"http://127.0.0.1:{server.server_port}"


def test_nothing_is_printed_and_nobody_else_is_told_whatever_the_environment_says(
    server, address, file, monkeypatch, capfd
):
    from mlflow.telemetry import utils

    for name in ("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
        monkeypatch.setenv(name, "false")
    # MLflow keeps quiet in tests anyway.
    monkeypatch.setattr(utils, "_IS_IN_CI_ENV_OR_TESTING", False)
    assert not utils.is_telemetry_disabled()
    with open_mlflow(address, file, resumed=False) as send:
        send(record(1))
        assert utils.is_telemetry_disabled()
    assert server.bodies("runs/update")[-1]["status"] == "FINISHED"
    assert {metric["key"] for metric in server.bodies("runs/log-batch")[-1]["metrics"]} > {"train/loss", "seconds"}
    assert capfd.readouterr() == ("", "")


def test_a_run_that_lost_a_round_is_ended_all_the_same(server, address, file, capfd):
    server.refuses = "runs/log-batch"
    with open_mlflow(address, file, resumed=False) as send:
        send(record(1))
        send(record(2))
    assert [len(body.get("metrics", [])) > 0 for body in server.bodies("runs/log-batch")].count(True) == 1
    assert server.bodies("runs/update")[-1]["status"] == "FINISHED"
    assert capfd.readouterr().err.count("no longer go to MLflow") == 1


def test_a_server_that_is_not_there_is_named(file, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    reports = open_mlflow("http://127.0.0.1:1", file, resumed=False)
    with pytest.raises(OutputError, match=r"MLflow at http://127.0.0.1:1: .*change --mlflow"):
        reports.__enter__()


def test_a_private_run_whose_server_is_not_there_is_not_lost(tmp_path, monkeypatch, capsys):
    """Its ledger has begun, so that the same command would be refused."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    logs = tmp_path / "model-logs"
    changes = ["data.records=400", "data.clients=10", "privacy.sampling=local", "aggregation.clip=1"]
    words = ["--preset", "demo", "--out", str(tmp_path / "model"), "--epsilon", "6", "--delta", "1e-3"]
    for change in changes:
        words += ["--set", change]
    for command in (["train", *words], ["resume", str(logs)]):
        assert main([*command, "--mlflow", "http://127.0.0.1:1"]) == 1
        *_, note, error = capsys.readouterr().err.splitlines()
        assert note.endswith(f"go on with: python -m federated resume {logs}")
        assert error.startswith("error: the rounds cannot go to MLflow")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://me:secret@127.0.0.1:1", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        ("https://me:se/secret@127.0.0.1:1", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        ("sqlite:///secret.db", "not an http://, https:// or file:// address"),
        ("secret", "not an http://"),
        ("http://", "not an http://"),
    ],
)
def test_an_address_that_is_none_or_has_a_user_is_wrong_usage_and_not_repeated(uri, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["resume", "logs", "--mlflow", uri])
    said = capsys.readouterr().err
    assert message in said.splitlines()[-1]
    assert "secret" not in said


def test_without_the_library_the_flag_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(running, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        main(["resume", "logs", "--mlflow", "http://127.0.0.1:1"])
    assert "pip install 'limelight[mlflow]'" in capsys.readouterr().err
