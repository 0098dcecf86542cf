"""Versions and registries that cannot be followed: scoring goes on with what is there, and it is told once."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest
from models.watching import ABSENT, Events, damage, names, problems
from structlog.testing import capture_logs

from worker.building import build_model
from worker.bundle import load_bundle, write_bundle
from worker.errors import BundleError
from worker.models import deployment as deployments
from worker.models.deployment import Deployment
from worker.models.following import MAX_RETRY_SECONDS
from worker.settings import Settings

pytestmark = pytest.mark.fast


REASONS = {
    "missing": r"there is no manifest\.json at .*registry/tiny/0000.*Publish the bundle",
    "damaged": r"registry/tiny/.*golden\.jsonl differs from its digest",
    "liar": "answer to golden record 0 differs from the exported one",
    "slow": r"takes .* s for golden record 0, and LIMELIGHT_GOLDEN_LIMIT_SECONDS is 1e-09",
}


def publish_liar(following: Any, make_parts: Callable[[], dict[str, Any]], tmp_path: Path) -> str:
    """A bundle that answers otherwise than its golden records say."""
    parts = make_parts()
    contents = parts.pop("contents")
    golden = msgspec.json.decode(contents["golden.jsonl"])
    golden["probabilities"].reverse()
    contents["golden.jsonl"] = msgspec.json.encode(golden) + b"\n"
    return str(following.publish(write_bundle(tmp_path / "liars", contents=contents, **parts)))


@pytest.mark.parametrize("fault", ["missing", "damaged", "liar", "slow"])
@pytest.mark.parametrize("role", ["current", "canary"])
def test_a_bad_bundle_is_refused_and_scoring_goes_on(
    *,
    following: Any,
    versions: list[Path],
    make_events: Events,
    make_parts: Callable[[], dict[str, Any]],
    tmp_path: Path,
    fault: str,
    role: str,
) -> None:
    first, bad = (following.publish(path) for path in versions[:2])
    following.promote(first)
    follower = following.open()
    if fault == "missing":
        bad = ABSENT
    elif fault == "damaged":
        damage(tmp_path / "registry", bad)
    elif fault == "liar":
        bad = publish_liar(following, make_parts, tmp_path)
    else:
        following.limit_seconds = 1e-9

    with capture_logs() as logs:
        deployment = following.promote(bad) if role == "current" else following.start_canary(bad, 5000)
        for _ in range(3):
            follower.poll()

    # Without its canary a deployment is taken over, without its current version it is not.
    assert set(names(follower, make_events(50))) == {(1 if role == "current" else 2, first)}
    [reason] = problems(logs)
    assert re.search(REASONS[fault], reason)
    assert follower.problem == reason
    assert not following.followed[-1]
    assert following.sample("limelight_deployment_problems_total") == 1
    assert following.sample("limelight_deployment_followed") == 0

    with capture_logs() as logs:
        back = following.roll_back() if role == "current" else following.registry.change(stop_canary)
        follower.poll()
    assert set(names(follower, make_events(50))) == {(deployment.generation + 1, first)} == {(back.generation, first)}
    assert (follower.problem, following.followed[-1], problems(logs)) == ("", True, [])
    assert "the registry is followed again" in [line["event"] for line in logs]


def test_a_start_is_not_timed_but_what_is_taken_over_afterwards_is(
    following: Any, versions: list[Path], make_events: Events, tmp_path: Path
) -> None:
    first, second, third = (following.publish(path) for path in versions[:3])
    following.promote(first)
    following.start_canary(second, 10_000)
    following.limit_seconds = 1e-9

    follower = following.open()
    assert (follower.problem, set(names(follower, make_events(3)))) == ("", {(2, second)})

    (tmp_path / "registry").rename(tmp_path / "elsewhere")
    assert following.open().models.current.version == first, "from memory"
    (tmp_path / "elsewhere").rename(tmp_path / "registry")
    following.promote(third)
    follower.poll()
    assert re.search(REASONS["slow"], follower.problem)
    assert set(names(follower, make_events(3))) == {(2, second)}


@pytest.mark.parametrize("is_loaded", [True, False])
def test_what_answered_before_is_not_timed(
    *, following: Any, versions: list[Path], make_events: Events, is_loaded: bool
) -> None:
    """A rollback is what somebody does whose machine is in trouble."""
    first, second = (following.publish(path) for path in versions[:2])
    for version in (first, second):
        following.promote(version)
    following.limit_seconds = 1e-9
    follower = following.open()
    if is_loaded:
        follower.poll()
        assert set(follower._loaded) == {first, second}

    following.roll_back()
    follower.poll()

    assert follower.problem == ""
    assert set(names(follower, make_events(3))) == {(3, first)}


def test_a_child_is_not_timed(versions: list[Path]) -> None:
    """It runs beside the worker, or only when nobody else wants to: its pace says nothing about the model."""
    settings = Settings(registry="r", model_name="tiny", golden_limit_seconds=1e-9)
    model = build_model(settings, lambda _: nullcontext(), load_bundle(versions[0]))

    with pytest.raises(BundleError, match=REASONS["slow"]):
        model.require_pace()


def stop_canary(before: Deployment | None) -> Deployment:
    return deployments.stop_canary(before, "tiny")


def test_a_bundle_that_was_mended_is_taken_over_without_another_change(
    following: Any, versions: list[Path], tmp_path: Path
) -> None:
    first, second = (following.publish(path) for path in versions[:2])
    following.promote(first)
    follower = following.open()
    damage(tmp_path / "registry", second)
    following.promote(second)
    tries = 0
    fetch = follower._cache.fetch

    def count(version: str) -> Any:
        nonlocal tries
        tries += 1
        return fetch(version)

    follower._cache.fetch = count
    for _ in range(200):
        follower.poll()
        following.clock.seconds += 0.5
    # At 0, 0.5, 1.5, 3.5 ... seconds and then once a minute, not 200 times.
    assert 7 <= tries <= 9

    following.publish(versions[1])
    following.clock.seconds += MAX_RETRY_SECONDS
    follower.poll()
    assert follower.models.current.version == second


def test_a_canary_that_was_mended_answers_although_the_shadow_stays_refused(
    following: Any, versions: list[Path], make_events: Events, tmp_path: Path
) -> None:
    first, second = (following.publish(path) for path in versions[:2])
    following.promote(first)
    follower = following.open()
    damage(tmp_path / "registry", second)
    following.start_shadow(ABSENT)
    following.start_canary(second, 10_000)
    follower.poll()
    assert set(names(follower, make_events(3))) == {(3, first)}

    following.publish(versions[1])
    following.clock.seconds += 1
    follower.poll()

    assert set(names(follower, make_events(3))) == {(3, second)}
    assert ABSENT in follower.problem
    swaps = following.sample("limelight_model_swaps_total")
    following.clock.seconds += MAX_RETRY_SECONDS
    follower.poll()
    assert following.sample("limelight_model_swaps_total") == swaps, "nothing else changed"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no deployment at "),
        (b'{"schema_version": 1, "name"', "is not a deployment file"),
        (b'{"schema_version": 7}', "has schema version 7; this program reads version 1"),
        ("unmounted", "cannot be used: No such file or directory"),
    ],
)
def test_a_registry_that_cannot_be_read_is_told_once(
    *, following: Any, versions: list[Path], make_events: Events, tmp_path: Path, content: Any, reason: str
) -> None:
    first = following.publish(versions[0])
    following.promote(first)
    follower = following.open()
    root = tmp_path / "registry"
    file = root / "tiny" / deployments.FILE
    whole = file.read_bytes()
    with capture_logs() as logs:
        if content == "unmounted":
            root.rename(tmp_path / "elsewhere")
        elif content is None:
            file.unlink()
        else:
            file.write_bytes(content)
        for _ in range(5):
            follower.poll()
    assert len(problems(logs)) == 1
    assert reason in problems(logs)[0]
    assert reason in follower.problem
    assert following.followed[-1] is False
    assert set(names(follower, make_events(3))) == {(1, first)}

    if content == "unmounted":
        (tmp_path / "elsewhere").rename(root)
    file.write_bytes(whole)
    follower.poll()
    assert (follower.problem, following.followed[-1]) == ("", True)


def test_a_file_that_was_put_back_is_not_followed_before_somebody_decides(
    following: Any, versions: list[Path], make_events: Events, tmp_path: Path
) -> None:
    first, second, third = (following.publish(path) for path in versions[:3])
    following.promote(first)
    file = tmp_path / "registry" / "tiny" / deployments.FILE
    older = file.read_bytes()
    following.promote(second)
    follower = following.open()

    file.write_bytes(older)
    follower.poll()

    assert "is at generation 1, and is not what was taken over as generation 2" in follower.problem
    assert follower.models.current.version == second

    following.promote(third)
    follower.poll()
    assert follower.problem == ""
    assert set(names(follower, make_events(3))) == {(2, third)}


def test_a_deployment_that_begins_anew_is_followed(following: Any, versions: list[Path], tmp_path: Path) -> None:
    first, second = (following.publish(path) for path in versions[:2])
    following.promote(first)
    following.promote(second)
    follower = following.open()

    (tmp_path / "registry" / "tiny" / deployments.FILE).unlink()
    following.promote(first)
    follower.poll()

    assert (follower.models.current.version, follower.models.current.generation) == (first, 1)
