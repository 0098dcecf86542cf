import re
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from worker.bundle import write_bundle
from worker.errors import RegistryError, RegistryUnreachableError
from worker.messages import Prediction
from worker.models import deployment as deployments
from worker.models.address import open_store
from worker.models.deployment import Deployment
from worker.models.following import MAX_RETRY_SECONDS, Follower
from worker.models.registry import Registry
from worker.models.serving import Plan
from worker.ports import Record

pytestmark = pytest.mark.fast

ABSENT = "0" * 64
Events = Callable[..., list[Record]]


def names(follower: Follower, records: list[Record]) -> list[tuple[int, str]]:
    """Generation and version that each prediction names."""
    answers = [msgspec.json.decode(answer, type=Prediction) for answer in follower.models.answer(records)]
    assert [answer.source for answer in answers] == [record.position for record in records]
    return [(answer.model.generation, answer.model.version) for answer in answers]


def problems(logs: list[Any]) -> list[str]:
    return [line["reason"] for line in logs if line["log_level"] == "error"]


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


def damage(registry: Path, version: str) -> None:
    (registry / "tiny" / version / "golden.jsonl").write_bytes(b"damaged")


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


def test_without_any_model_nothing_begins(following: Any, versions: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"there is no deployment at .*promote VERSION"):
        following.open()
    following.promote(ABSENT)
    with pytest.raises(RegistryError, match="Publish the bundle"):
        following.open()
    (tmp_path / "registry").rename(tmp_path / "elsewhere")
    with pytest.raises(RegistryUnreachableError):
        following.open()


@pytest.mark.parametrize("fault", ["unreachable", "damaged"])
def test_a_worker_that_was_here_before_begins_with_what_it_knows(
    following: Any, versions: list[Path], make_events: Events, tmp_path: Path, fault: str
) -> None:
    first, second = (following.publish(path) for path in versions[:2])
    following.promote(first)
    following.open()
    root = tmp_path / "registry"
    if fault == "unreachable":
        root.rename(tmp_path / "elsewhere")
    else:
        following.promote(second)
        damage(root, second)

    follower = following.open()

    assert set(names(follower, make_events(3))) == {(1, first)}
    assert follower.problem
    assert not following.followed[-1]
    if fault == "unreachable":
        (tmp_path / "elsewhere").rename(root)
    else:
        following.publish(versions[1])
    follower.poll()
    assert (follower.problem, following.followed[-1]) == ("", True)


def test_its_thread_polls_until_it_is_closed(following: Any, versions: list[Path]) -> None:
    first, second = (following.publish(path) for path in versions[:2])
    following.promote(first)
    follower = following.open()
    follower._poll_seconds = 0.01
    taken = threading.Event()
    follower._followed = lambda _: taken.set() if follower.models.current.version == second else None
    follower.start()

    following.promote(second)
    assert taken.wait(10)
    follower.close()

    assert not follower._thread.is_alive()


def test_closing_does_not_wait_for_a_download_that_hangs(
    following: Any, versions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    following.promote(following.publish(versions[0]))
    follower = following.open()
    following.promote(following.publish(versions[1]))
    hanging, ended = threading.Event(), threading.Event()

    def hang(version: str) -> Any:
        hanging.set()
        ended.wait()
        raise RegistryUnreachableError("the network is gone")

    follower._cache.fetch = hang
    follower._poll_seconds = 0.01
    monkeypatch.setattr("worker.models.following.CLOSE_SECONDS", 0.01)
    follower.start()
    assert hanging.wait(10)

    follower.close()

    assert follower._thread.is_alive()
    ended.set()
    follower._thread.join(10)
    assert not follower._thread.is_alive()


def test_a_fault_of_ours_does_not_end_the_following(following: Any, versions: list[Path]) -> None:
    first, second = (following.publish(path) for path in versions[:2])
    following.promote(first)
    follower = following.open()
    follower._poll_seconds = 0.01
    told = threading.Event()
    follower._followed = lambda holds: None if holds else told.set()
    build, follower._build = follower._build, lambda _: 1 / 0

    with capture_logs() as logs:
        following.promote(second)
        follower.start()
        assert told.wait(10)
        follower.close()
    assert problems(logs) == ["division by zero"]

    follower._build = build
    following.clock.seconds += 1
    follower.poll()
    assert follower.models.current.version == second


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
