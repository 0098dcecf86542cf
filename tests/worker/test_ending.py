"""A worker that ends by an error, while a client of its brokers does not let go or its brokers are away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

SCRIPT = """
import sys, threading
from worker import app
from worker.__main__ import main
from worker.errors import TopicMissingError
from worker.transport.connections import Connections

class HangingSource:
    def close(self):
        threading.Event().wait()

def refuse(self, **_):
    raise TopicMissingError("there is no such topic.")

Connections.open_source = lambda self, **_: HangingSource()
Connections.open_sink = refuse
app.LEAVE_SECONDS = 0.2
sys.exit(main(["run"]))
"""


STOPPED_WHILE_OPENING = """
import os, signal, sys
from worker.__main__ import main
from worker.errors import BrokerUnreachableError
from worker.transport.connections import Connections

def be_away(self, **_):
    os.kill(os.getpid(), signal.SIGTERM)
    raise BrokerUnreachableError("no broker answers.")

Connections.open_source = be_away
sys.exit(main(["run"]))
"""


def run(script: str, bundle: Path) -> "subprocess.CompletedProcess[str]":
    settings = {"BUNDLE": str(bundle), "DRAIN_SECONDS": "0.1", "LOG_FORMAT": "json"}
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **{f"LIMELIGHT_{name}": value for name, value in settings.items()}},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_error_is_told_before_a_clean_up_that_hangs_and_the_worker_ends(tiny_bundle_path: Path) -> None:
    ended = run(SCRIPT, tiny_bundle_path)

    assert ended.returncode == 1
    *_, told, cut = ended.stderr.splitlines()
    assert "there is no such topic" in told
    assert "did not stop in time" in cut


def test_a_worker_that_waits_for_its_brokers_stops_at_once(tiny_bundle_path: Path) -> None:
    # A second attempt would be a second signal, which ends the process with another status.
    ended = run(STOPPED_WHILE_OPENING, tiny_bundle_path)

    assert ended.returncode == 1
    assert "no broker answers" in ended.stderr
    assert "did not stop in time" not in ended.stderr
