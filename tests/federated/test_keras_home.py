"""What lies in somebody's home directory changes no result, and nothing is left there."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.train

SCRIPT = "import {package}, tensorflow as tf; print(tf.keras.backend.floatx(), tf.keras.backend.epsilon())"
SET_BY_THE_PACKAGES = ("KERAS_HOME", "ORT_DISABLE_TELEMETRY")


@pytest.mark.parametrize(
    ("package", "content"),
    [("federated", None), ("federated", '{"floatx": "float64", "epsilon": 0.5}'), ("export", '{"floatx": "broken"}')],
)
def test_keras_keeps_its_defaults(tmp_path, package, content):
    file = tmp_path / ".keras" / "keras.json"
    if content:
        file.parent.mkdir()
        file.write_text(content)
    before = sorted(tmp_path.rglob("*"))
    inherited = {name: value for name, value in os.environ.items() if name not in SET_BY_THE_PACKAGES}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT.format(package=package)]
    environment = {**inherited, "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("float32 1e-07\n", "")
    assert sorted(tmp_path.rglob("*")) == before
