"""What the commands do with a registry in their settings."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worker.__main__ import main
from worker.models import deployment as deployments
from worker.models.registry import Registry

pytestmark = pytest.mark.fast

PATIENCE_SECONDS = 60


@pytest.fixture(autouse=True)
def settings(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMELIGHT_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("LIMELIGHT_MODEL_NAME", "tiny")
    monkeypatch.setenv("LIMELIGHT_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def current(registry: Registry, versions: list[Path]) -> str:
    version = registry.publish(versions[0])
    registry.change(lambda before: deployments.promote(before, "tiny", version))
    return version


def test_a_file_is_scored_by_the_current_version(current: str, tmp_path: Path) -> None:
    (tmp_path / "events").write_text('{"text": "the box late"}\n')

    assert main(["score", "--input", str(tmp_path / "events"), "--output", str(tmp_path / "answers")]) == 0

    assert json.loads((tmp_path / "answers").read_text())["model"]["version"] == current


def test_the_check_looks_at_the_current_version(
    registry: Registry, current: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "check", "--offline"]) == 0
    assert capsys.readouterr().out == "ok\n"

    shutil.rmtree(tmp_path / "registry" / "tiny" / current)
    shutil.rmtree(tmp_path / "cache")
    assert main(["config", "check", "--offline"]) == 1
    assert f"there is no manifest.json at {tmp_path}/registry/tiny/{current}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "there is no deployment at "),
        ({"LIMELIGHT_REGISTRY": "/no/such/registry"}, "the registry /no/such/registry cannot be used: No such file"),
        ({"LIMELIGHT_BUNDLE": "a/bundle"}, "LIMELIGHT_BUNDLE and LIMELIGHT_REGISTRY are both set"),
    ],
)
def test_a_worker_without_any_model_does_not_start(variables: dict[str, str], message: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "worker", "run"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        env={**os.environ, **variables},
    )

    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1].startswith(f"error: {message}")
