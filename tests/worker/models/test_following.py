"""A worker follows what a registry says: promotions, rollbacks, canaries and shadows, between two slices."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models.watching import ABSENT, Events, damage, names
from structlog.testing import capture_logs

from worker.errors import RegistryError
from worker.models import deployment as deployments
from worker.models.address import open_store
from worker.models.following import MAX_RETRY_SECONDS, PRUNE_SECONDS
from worker.models.registry import Registry
from worker.models.serving import Plan

pytestmark = pytest.mark.fast


STEPS = st.one_of(
    st.tuples(st.sampled_from(["promote", "canary"]), st.integers(0, 3)),
    st.tuples(st.sampled_from(["rollback", "canary off", "poll", "poll", "answer"]), st.just(0)),
)


@settings(max_examples=15)
@given(steps=st.lists(STEPS, max_size=16))
def test_each_prediction_names_what_was_current_or_canary(
    steps: list[tuple[str, int]], versions: list[Path], make_events: Events, make_following: Any
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (root := Path(directory) / "registry").mkdir()
        following = make_following(Registry(open_store(str(root)), "tiny"), Path(directory) / "cache")
        published = [following.publish(path) for path in versions]
        history = {1: following.promote(published[0])}
        follower = following.open()
        polled, answered = 1, 0
        for step, index in steps:
            try:
                match step:
                    case "promote":
                        deployment = following.promote(published[index])
                    case "canary":
                        deployment = following.start_canary(published[index], 3000)
                    case "rollback":
                        deployment = following.roll_back()
                    case "canary off":
                        deployment = following.registry.change(lambda b: deployments.stop_canary(b, "tiny"))
                    case "poll":
                        follower.poll()
                        polled = max(history)
                        continue
                    case _:
                        continue
                history[deployment.generation] = deployment
            except RegistryError:
                pass
            finally:
                found = names(follower, make_events(40, first=answered))
                answered += 40
                assert {generation for generation, _ in found} == {polled}
                assert {version for _, version in found} <= set(history[polled].versions())
        follower.poll()
        assert follower.models.current.version == history[max(history)].current
        assert following.followed[-1]


def test_a_promotion_is_taken_over_at_the_next_poll(following: Any, versions: list[Path], make_events: Events) -> None:
    first, second = (following.publish(path) for path in versions[:2])
    following.promote(first)
    follower = following.open()
    assert set(names(follower, make_events(3))) == {(1, first)}

    following.promote(second)
    assert set(names(follower, make_events(3))) == {(1, first)}
    follower.poll()

    assert set(names(follower, make_events(3))) == {(2, second)}
    assert (follower.models.current.version, follower.models.canary) == (second, None)
    assert following.sample("limelight_deployment_generation") == 2
    assert following.sample("limelight_model_swaps_total") == 1
    assert following.sample("limelight_deployment_problems_total") == 0


def test_a_rollback_needs_nothing_but_the_deployment_file(
    following: Any, versions: list[Path], make_events: Events, tmp_path: Path
) -> None:
    first, second = (following.publish(path) for path in versions[:2])
    following.promote(first)
    follower = following.open()
    following.promote(second)
    follower.poll()
    shutil.rmtree(tmp_path / "registry" / "tiny" / first)
    shutil.rmtree(tmp_path / "cache" / "tiny")

    following.roll_back()
    follower.poll()

    assert set(names(follower, make_events(3))) == {(3, first)}
    assert following.built == [first, second]


def test_a_rollback_stays_instant_while_canaries_come_and_go(
    following: Any, versions: list[Path], make_events: Events, tmp_path: Path
) -> None:
    first, second, third = (following.publish(path) for path in versions[:3])
    following.promote(first)
    follower = following.open()
    following.promote(second)
    follower.poll()
    following.start_canary(third, 100)
    follower.poll()
    shutil.rmtree(tmp_path / "cache" / "tiny")

    following.roll_back()
    follower.poll()

    assert set(names(follower, make_events(3))) == {(4, first)}
    assert following.built == [first, second, third]


@pytest.mark.parametrize("decided", ["before the start", "while it runs"])
def test_a_rollback_is_as_fast_on_a_worker_that_never_answered_with_the_version_before(
    *, following: Any, versions: list[Path], make_events: Events, tmp_path: Path, decided: str
) -> None:
    first, second, third = (following.publish(path) for path in versions[:3])
    for version in (first, second):
        following.promote(version)
    if decided == "before the start":
        following.promote(third)
        following.roll_back()
        follower = following.open()
    else:
        following.promote(third)
        follower = following.open()
        following.roll_back()
        follower.poll()
    follower.poll()
    shutil.rmtree(tmp_path / "registry" / "tiny" / first)
    shutil.rmtree(tmp_path / "cache" / "tiny")

    following.roll_back()
    follower.poll()

    assert set(names(follower, make_events(3))) == {(5, first)}


def test_a_way_back_that_cannot_be_loaded_is_no_problem_of_what_answers(
    following: Any, versions: list[Path], tmp_path: Path
) -> None:
    first, second = (following.publish(path) for path in versions[:2])
    following.promote(first)
    following.promote(second)
    damage(tmp_path / "registry", first)
    follower = following.open()

    with capture_logs() as logs:
        for _ in range(50):
            follower.poll()
            following.clock.seconds += 0.5
    assert (follower.problem, following.followed[-1]) == ("", True)
    [line] = logs
    assert (line["log_level"], line["version"]) == ("warning", first)
    assert "golden.jsonl differs from its digest" in line["reason"]

    following.publish(versions[0])
    following.clock.seconds += MAX_RETRY_SECONDS
    follower.poll()
    assert set(follower._loaded) == {first, second}


def test_a_canary_that_stays_refused_is_no_swap(following: Any, versions: list[Path]) -> None:
    first, second = (following.publish(path) for path in versions[:2])
    following.promote(first)
    follower = following.open()
    following.start_canary(ABSENT, 100)
    with capture_logs() as logs:
        for _ in range(50):
            follower.poll()
            following.clock.seconds += 1
    assert following.sample("limelight_model_swaps_total") == 1
    assert len(logs) == 2, "the generation in use, and what is missing of it"

    following.start_canary(second, 100)
    follower.poll()
    assert follower.models.canary.version == second


def test_what_is_no_longer_needed_leaves_the_memory(following: Any, versions: list[Path]) -> None:
    published = [following.publish(path) for path in versions]
    following.promote(published[0])
    follower = following.open()
    for version in published[1:]:
        following.promote(version)
        follower.poll()

    assert set(follower._loaded) == set(published[-2:])


def test_a_bucket_is_followed_like_a_directory(
    *, s3: str, make_following: Any, versions: list[Path], make_events: Events, tmp_path: Path
) -> None:
    following = make_following(Registry(open_store(s3), "tiny"), tmp_path / "cache")
    first, second = (following.publish(path) for path in versions[:2])
    following.promote(first)
    # The worker's own connection: nothing that a writer remembers reaches it.
    follower = following.open(Registry(open_store(s3), "tiny"))

    following.promote(second)
    follower.poll()
    assert set(names(follower, make_events(3))) == {(2, second)}

    following.registry._store._files.rm(s3, recursive=True)
    follower.poll()
    assert "there is no deployment at s3://" in follower.problem
    assert set(names(follower, make_events(3))) == {(2, second)}


def test_a_shadow_is_fetched_and_told(following: Any, versions: list[Path], tmp_path: Path) -> None:
    first, second = (following.publish(path) for path in versions[:2])
    following.promote(first)
    follower = following.open()

    following.start_shadow(second)
    follower.poll()
    assert following.shadowed == [None, Plan(2, tmp_path / "cache" / "tiny" / second)]

    following.registry.change(lambda before: deployments.stop_shadow(before, "tiny"))
    follower.poll()
    assert following.shadowed[-1] is None
    assert following.built == [first], "it is loaded elsewhere"


def test_a_shadow_that_is_damaged_changes_nothing_else(
    following: Any, versions: list[Path], make_events: Events, tmp_path: Path
) -> None:
    first, second, third = (following.publish(path) for path in versions[:3])
    following.promote(first)
    follower = following.open()
    damage(tmp_path / "registry", second)

    following.start_shadow(second)
    following.start_canary(third, 10_000)
    follower.poll()

    assert set(names(follower, make_events(3))) == {(3, third)}
    assert following.shadowed[-1] is None
    assert "golden.jsonl differs from its digest" in follower.problem


def test_downloads_that_nobody_uses_are_removed_and_those_in_reach_stay(following: Any, versions: list[Path]) -> None:
    current, before = (following.publish(path) for path in versions[:2])
    following.promote(before)
    follower = following.open()
    following.promote(current)
    follower.poll()
    cached = following.directory / "tiny"
    foreign = cached / ("0" * 64)
    foreign.mkdir()
    for version in (current, before, foreign.name):
        os.utime(cached / version, (0, 0))

    follower.poll()
    assert foreign.exists(), "it is not looked at each time"
    following.clock.seconds += PRUNE_SECONDS
    follower.poll()

    assert {path.name for path in cached.iterdir() if path.is_dir()} == {current, before}
