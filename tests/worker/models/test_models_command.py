import json
from pathlib import Path

import pytest

from worker.__main__ import main
from worker.models.registry import Registry

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def settings(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMELIGHT_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("LIMELIGHT_MODEL_NAME", "tiny")


def models(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command printed, successful or not."""
    status = main(["models", *arguments])
    printed, told = capsys.readouterr()
    assert (status == 0) == (told == "")
    return printed + told


def test_a_version_on_its_way_through_a_deployment(capsys: pytest.CaptureFixture[str], versions: list[Path]) -> None:
    first, second, third = (models(capsys, "publish", str(path)).strip() for path in versions[:3])
    assert [first, second, third] == [path.name for path in versions[:3]]

    assert models(capsys, "promote", first[:6]) == f"generation 1: current {first[:12]}\n"
    canary = models(capsys, "canary", second, "--percent", "2.5")
    assert canary == f"generation 2: current {first[:12]}, canary 2.5 % {second[:12]}\n"
    shadow = models(capsys, "shadow", third)
    assert shadow == f"generation 3: current {first[:12]}, canary 2.5 % {second[:12]}, shadow {third[:12]}\n"
    listed = {line.split()[0]: line.split(maxsplit=2)[2] for line in models(capsys, "list").splitlines()}
    assert listed == {first[:12]: "current", second[:12]: "canary 2.5 %", third[:12]: "shadow"}

    assert models(capsys, "shadow", "--off") == f"generation 4: current {first[:12]}, canary 2.5 % {second[:12]}\n"
    assert models(capsys, "promote", second, "--if-generation", "4") == f"generation 5: current {second[:12]}\n"
    assert models(capsys, "rollback") == f"generation 6: current {first[:12]}\n"
    assert models(capsys, "canary", third, "--percent", "1").startswith("generation 7")
    assert models(capsys, "canary", "--off") == f"generation 8: current {first[:12]}\n"

    history = models(capsys, "history").splitlines()
    assert [line.split()[0] for line in history] == [str(n) for n in range(1, 9)]
    assert history[1].endswith(f"canary      current {first[:12]}, canary {second[:12]} 2.5 %")
    assert json.loads(models(capsys, "show"))["generation"] == 8
    assert json.loads(models(capsys, "show", third[:10]))["version"] == third


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote", "0000"], "error: no version begins with '0000' at "),
        (["rollback"], "error: tiny has no current version yet. Promote one first."),
        (["history"], "error: there is no deployment at "),
        (["show"], "error: there is no deployment at "),
        (["publish", "/no/such/bundle"], "error: no bundle at /no/such/bundle"),
        (["canary", "0000"], "error: a canary needs its share of the keys: --percent 5"),
        (["--registry", "/no/such/registry", "list"], "error: the registry /no/such/registry cannot be used: No such"),
        (["--name", "two words", "list"], "error: LIMELIGHT_MODEL_NAME='two words' is not allowed"),
        (["rollback", "--if-generation", "3"], "error: tiny is at generation 0 and not 3"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert models(capsys, *arguments).startswith(message)


@pytest.mark.parametrize("percent", ["0", "0.001", "101", "nan", "x", "1e400"])
def test_a_share_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str], percent: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["models", "canary", "0000", "--percent", percent])

    assert ended.value.code == 2
    assert f"'{percent}' is no percentage from 0.01 to 100" in capsys.readouterr().err


def test_a_model_of_which_nothing_was_promoted_can_be_listed(
    capsys: pytest.CaptureFixture[str], versions: list[Path]
) -> None:
    version = models(capsys, "publish", str(versions[0])).strip()

    assert models(capsys, "list").split() == [
        version[:12],
        *json.loads(models(capsys, "show", version[:6]))["created_at"].split(),
        "-",
    ]
    assert models(capsys, "--name", "other", "list") == "no version of other here; the registry holds: tiny\n"


def test_a_version_that_cannot_be_read_hides_no_other(
    capsys: pytest.CaptureFixture[str], versions: list[Path], tmp_path: Path
) -> None:
    sound, broken = (models(capsys, "publish", str(path)).strip() for path in versions[:2])
    models(capsys, "promote", broken)
    (tmp_path / "registry" / "tiny" / broken / "manifest.json").write_bytes(b'{"schema_version": 1, "na')

    first, second = models(capsys, "list").splitlines()

    assert first.split()[0] == sound[:12]
    assert second.startswith(f"{broken[:12]}  unreadable  current  ")
    assert f"registry/tiny/{broken}/manifest.json is not a manifest" in second


def test_without_a_registry_there_is_nothing_to_look_into(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LIMELIGHT_REGISTRY")
    monkeypatch.delenv("LIMELIGHT_MODEL_NAME")

    assert models(capsys, "list").startswith("error: LIMELIGHT_REGISTRY and LIMELIGHT_MODEL_NAME are not set.")
