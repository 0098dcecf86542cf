"""How following begins, with what was known before, and how it ends."""

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from models.watching import ABSENT, Events, damage, names, problems
from structlog.testing import capture_logs

from worker.errors import RegistryError, RegistryUnreachableError
from worker.models.serving import Plan

pytestmark = pytest.mark.fast


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


@pytest.mark.parametrize("role", ["canary", "shadow"])
def test_a_role_that_is_missing_at_a_beginning_without_the_registry_is_taken_over_later(
    *, following: Any, versions: list[Path], make_events: Events, tmp_path: Path, role: str
) -> None:
    first, second = (following.publish(path) for path in versions[:2])
    following.promote(first)
    if role == "canary":
        following.start_canary(second, 10_000)
    else:
        following.start_shadow(second)
    following.open()
    shutil.rmtree(tmp_path / "cache" / "tiny" / second)
    (tmp_path / "registry").rename(tmp_path / "elsewhere")

    follower = following.open()
    assert set(names(follower, make_events(3))) == {(2, first)}
    assert following.shadowed[-1] is None
    (tmp_path / "elsewhere").rename(tmp_path / "registry")
    follower.poll()
    assert follower.problem, "it is not there yet"
    following.clock.seconds += 1
    follower.poll()

    assert (follower.problem, following.followed[-1]) == ("", True)
    if role == "canary":
        assert set(names(follower, make_events(3))) == {(2, second)}
    else:
        assert following.shadowed[-1] == Plan(2, tmp_path / "cache" / "tiny" / second)


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
