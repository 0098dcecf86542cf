import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.__main__ import main
from worker.settings import MASK, PREFIX, Settings, variable

pytestmark = pytest.mark.fast

SECRET = "hunter2"
LOGIN = {
    "LIMELIGHT_SECURITY_PROTOCOL": "SASL_SSL",
    "LIMELIGHT_SASL_MECHANISM": "PLAIN",
    "LIMELIGHT_SASL_USERNAME": "reader",
    "LIMELIGHT_SASL_PASSWORD": SECRET,
}


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def shown(capsys: pytest.CaptureFixture[str]) -> Iterator[tuple[str, str, str]]:
    """Variable, value and source of each line."""
    for line in capsys.readouterr().out.splitlines():
        setting, source = line.split("  # source: ")
        name, value = setting.split("=", 1)
        yield name, value, source


def test_show_prints_every_setting_with_its_value_and_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMELIGHT_SLICE_RECORDS", "7")

    assert main(["config", "show"]) == 0

    lines = {name: (value, source) for name, value, source in shown(capsys)}
    assert list(lines) == [variable(field) for field in Settings.model_fields]
    assert lines["LIMELIGHT_SLICE_RECORDS"] == ("7", "environment")
    assert lines["LIMELIGHT_GROUP_ID"] == ("limelight", "default")
    assert lines["LIMELIGHT_BUNDLE"] == ("", "default")


def test_what_show_prints_can_be_set_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_bundle_path: Path
) -> None:
    chosen = {
        "LIMELIGHT_FIELDS": '{"text":"the, review"}',
        "LIMELIGHT_STATUS_TOPIC": "",
        "LIMELIGHT_DRAIN_SECONDS": "1.5",
        "LIMELIGHT_BUNDLE": str(tiny_bundle_path),
    }
    set_all(monkeypatch, chosen)
    before = Settings.from_environment()
    main(["config", "show"])
    set_all(monkeypatch, {name: value for name, value, _ in shown(capsys)})

    assert Settings.from_environment() == before


def test_show_masks_secrets(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, {**LOGIN, "LIMELIGHT_BUNDLE": f"https://me:{SECRET}@host/bundle"})

    main(["config", "show"])
    as_lines = capsys.readouterr().out
    main(["config", "show", "--json"])
    as_json = capsys.readouterr().out

    assert f"LIMELIGHT_SASL_PASSWORD={MASK}  # source: environment" in as_lines
    assert json.loads(as_json)["LIMELIGHT_SASL_PASSWORD"] == {"value": MASK, "source": "environment"}
    assert SECRET not in as_lines + as_json


def test_json_keeps_the_types(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMELIGHT_FIELDS", "text=review")

    assert main(["config", "show", "--json"]) == 0

    settings: dict[str, dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert settings["LIMELIGHT_SLICE_RECORDS"] == {"value": 512, "source": "default"}
    assert settings["LIMELIGHT_FIELDS"] == {"value": {"text": "review"}, "source": "environment"}
    assert settings["LIMELIGHT_BUNDLE"] == {"value": None, "source": "default"}


def test_the_help_describes_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["config", "show", "--help"])

    written = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    for field, info in Settings.model_fields.items():
        assert f"{variable(field)}=" in written
        assert info.description is not None
        assert " ".join(info.description.split()) in written


def test_check_accepts_a_sound_bundle(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_bundle_path: Path
) -> None:
    monkeypatch.setenv("LIMELIGHT_BUNDLE", str(tiny_bundle_path))

    assert main(["config", "check", "--offline"]) == 0
    assert capsys.readouterr().out == "ok\n"


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({}, "LIMELIGHT_BUNDLE is not set"),
        ({"LIMELIGHT_BUNDLE": "/no/such/bundle"}, "no bundle at /no/such/bundle"),
        ({"LIMELIGHT_ROUTES": "reviews=/no/such/route"}, "no bundle at /no/such/route"),
        ({"LIMELIGHT_BUNDEL": "x"}, "Did you mean LIMELIGHT_BUNDLE?"),
        ({"LIMELIGHT_START": "middle"}, "LIMELIGHT_START='middle' is not allowed"),
        ({"LIMELIGHT_FIELDS": "body=review"}, "names body, which the model does not read. It reads text."),
        ({"LIMELIGHT_ID_FIELD": "text"}, "LIMELIGHT_ID_FIELD read the record field text twice"),
    ],
)
def test_check_refuses_with_one_line(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tiny_bundle_path: Path,
    variables: dict[str, str],
    complaint: str,
) -> None:
    mapped = {"LIMELIGHT_FIELDS", "LIMELIGHT_ID_FIELD", "LIMELIGHT_ROUTES"} & variables.keys()
    set_all(monkeypatch, {"LIMELIGHT_BUNDLE": str(tiny_bundle_path), **variables} if mapped else variables)

    assert main(["config", "check", "--offline"]) == 1

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert complaint in captured.err


def test_check_refuses_a_damaged_bundle(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tiny_bundle_path: Path, tmp_path: Path
) -> None:
    damaged = shutil.copytree(tiny_bundle_path, tmp_path / "damaged")
    (damaged / "model.onnx").write_bytes(b"other")
    monkeypatch.setenv("LIMELIGHT_BUNDLE", str(damaged))

    assert main(["config", "check", "--offline"]) == 1
    assert "model.onnx differs from its digest" in capsys.readouterr().err
