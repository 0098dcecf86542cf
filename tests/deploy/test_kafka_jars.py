"""Only the locked jars are ever run, and they are fetched once."""

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest

from deploy.local.kafka.download import render_pom
from deploy.local.kafka.errors import CacheError, JarChecksumError, SourceError
from deploy.local.kafka.jars import KAFKA_VERSION, Jar, cached_jars, read_lock

pytestmark = pytest.mark.fast

CONTENT = {"one-1.jar": b"first", "two-2.jar": b"second"}
JARS = [
    Jar(PurePosixPath("org/example", name[:3], name[4], name), hashlib.sha256(data).hexdigest())
    for name, data in CONTENT.items()
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMELIGHT_CACHE_DIR", str(tmp_path))
    return tmp_path / f"kafka-{KAFKA_VERSION}"


def download(jars: Sequence[Jar], directory: Path) -> None:
    for jar in jars:
        (directory / jar.path.name).write_bytes(CONTENT[jar.path.name])


def must_not_download(jars: Sequence[Jar], directory: Path) -> None:
    pytest.fail("the jars are in the cache already")


def test_the_lock_names_kafka_and_whole_digests() -> None:
    jars = read_lock()
    assert ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION) in [(jar.group, jar.artifact, jar.version) for jar in jars]
    for jar in jars:
        assert jar.path.name == f"{jar.artifact}-{jar.version}.jar"
        assert len(bytes.fromhex(jar.sha256)) == hashlib.sha256().digest_size
    assert len({jar.path.name for jar in jars}) == len(jars), "they share one directory"


def test_jars_are_downloaded_once(cache: Path) -> None:
    first = cached_jars(download, JARS)
    assert first == [cache / "one-1.jar", cache / "two-2.jar"]
    assert [path.read_bytes() for path in first] == list(CONTENT.values())
    assert cached_jars(must_not_download, JARS) == first


def test_a_downloaded_jar_that_differs_is_refused_and_named(cache: Path) -> None:
    def poisoned(jars: Sequence[Jar], directory: Path) -> None:
        download(jars, directory)
        (directory / "two-2.jar").write_bytes(b"somebody else's")

    with pytest.raises(JarChecksumError, match=r"two-2\.jar is not the jar that was locked"):
        cached_jars(poisoned, JARS)
    assert not cache.exists()
    assert cached_jars(download, JARS)


@pytest.mark.parametrize("damage", ["change", "remove"])
def test_a_cached_jar_that_differs_is_refused_and_named(cache: Path, damage: str) -> None:
    cached_jars(download, JARS)
    jar = cache / "one-1.jar"
    jar.write_bytes(b"changed") if damage == "change" else jar.unlink()
    with pytest.raises(JarChecksumError, match=rf"one-1\.jar is not the jar that was locked.*Remove {cache}"):
        cached_jars(must_not_download, JARS)


def test_a_failed_download_leaves_nothing(cache: Path) -> None:
    def fails_midway(jars: Sequence[Jar], directory: Path) -> None:
        download(jars[:1], directory)
        raise SourceError("the line was cut")

    with pytest.raises(SourceError, match="the line was cut"):
        cached_jars(fails_midway, JARS)
    assert [path.name for path in cache.parent.iterdir()] == [".lock"]


def test_what_a_killed_download_left_is_removed(cache: Path) -> None:
    leftover = cache.with_name(f".{cache.name}.killed")
    leftover.mkdir(parents=True)
    (leftover / "one-1.jar").touch()
    cached_jars(download, JARS)
    assert not leftover.exists()


def test_first_runs_at_the_same_time_download_once(cache: Path) -> None:
    began, may_end = threading.Event(), threading.Event()
    downloads = []
    results: list[list[Path]] = []

    def slow(jars: Sequence[Jar], directory: Path) -> None:
        downloads.append(directory)
        began.set()
        assert may_end.wait(10)
        download(jars, directory)

    threads = [threading.Thread(target=lambda: results.append(cached_jars(slow, JARS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert began.wait(10)
    may_end.set()
    for thread in threads:
        thread.join()
    assert len(downloads) == 1
    assert len(results) == 4


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LIMELIGHT_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(CacheError, match=rf"{tmp_path}/file/kafka-.*: File exists\. Set LIMELIGHT_CACHE_DIR to"):
        cached_jars(must_not_download, JARS)


def test_a_cache_that_can_only_be_read_will_do(cache: Path) -> None:
    jars = cached_jars(download, JARS)
    # Not by its rights: root may write everywhere.
    (cache.parent / ".lock").unlink()
    (cache.parent / ".lock").mkdir()
    assert cached_jars(must_not_download, JARS) == jars


def test_without_a_home_directory_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LIMELIGHT_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    # As in a container that runs under a bare user id, for which the machine has no name.
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    with pytest.raises(CacheError, match=r"there is no home directory to keep .* Set LIMELIGHT_CACHE_DIR to"):
        cached_jars(must_not_download, JARS)


def test_the_pom_asks_maven_for_exactly_the_locked_jars() -> None:
    pom = render_pom(JARS)
    assert pom.count("<dependency>") == 2
    assert "<groupId>org.example</groupId><artifactId>two</artifactId><version>2</version>" in pom
