"""The peers' environment: locked by hashes, made only when it is needed, and missed with a reason."""

from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.fast

PEERS = Path(__file__).parent / "peers"


@pytest.fixture
def environment(peers_environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, with a cache of its own and a `uv` that can be replaced."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(peers_environment.sys, "executable", str(tmp_path / "bin" / "python"))
    return peers_environment


def make_uv(directory: Path, script: str) -> None:
    uv = directory / "bin" / "uv"
    uv.write_text(f"#!/bin/sh\necho $1 >> {directory}/calls\n{script}\n")
    uv.chmod(0o755)


def test_the_lock_has_a_hash_for_everything_and_names_no_address() -> None:
    lock = (PEERS / "peers.lock").read_text()
    packages = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert any(line.startswith("quixstreams==3.") for line in packages)
    assert all(line.endswith(" \\") for line in packages), "each goes on with its hashes"
    assert "://" not in lock


def test_it_is_made_once(environment: ModuleType, tmp_path: Path) -> None:
    uv_makes = 'case $1 in venv) for place; do :; done; mkdir -p "$place/bin"; touch "$place/bin/python";; esac'
    make_uv(tmp_path, uv_makes)
    python = environment.find_or_make()
    assert python.exists()
    assert environment.find_or_make() == python
    assert (tmp_path / "calls").read_text().split() == ["venv", "pip"]


def test_one_that_was_interrupted_is_made_anew(environment: ModuleType, tmp_path: Path) -> None:
    make_uv(tmp_path, '[ "$1" = venv ] || exit 1')
    for _ in range(2):
        with pytest.raises(environment.PeersUnavailableError):
            environment.find_or_make()
    assert (tmp_path / "calls").read_text().split() == ["venv", "pip"] * 2


def test_what_uv_says_is_the_reason(environment: ModuleType, tmp_path: Path) -> None:
    make_uv(tmp_path, 'echo "error: no index can be reached" >&2; exit 2')
    with pytest.raises(environment.PeersUnavailableError, match="`uv venv` failed: error: no index can be reached"):
        environment.find_or_make()


def test_without_uv_the_reason_is_that(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(environment.PeersUnavailableError, match="uv is not installed"):
        environment.find_or_make()
