"""A worker that ends by an error while a client of its brokers does not let go."""

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


def test_an_error_is_told_before_a_clean_up_that_hangs_and_the_worker_ends(tiny_bundle_path: Path) -> None:
    settings = {"BUNDLE": str(tiny_bundle_path), "DRAIN_SECONDS": "0.1", "LOG_FORMAT": "json"}
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, **{f"LIMELIGHT_{name}": value for name, value in settings.items()}},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    *_, told, cut = ended.stderr.splitlines()
    assert "there is no such topic" in told
    assert "did not stop in time" in cut
