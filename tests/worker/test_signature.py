"""Signed bundles: what a worker with trusted keys takes, and what it refuses."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from export.sign import make_keys
from worker.__main__ import main
from worker.bundle import load_bundle, write_bundle
from worker.errors import BundleDigestError, BundleSignatureError
from worker.signature import SIGNATURE, TrustedKeys, read_signatures

pytestmark = pytest.mark.fast


def export(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with two pairs of keys."""
    directory = tmp_path_factory.mktemp("keys")
    for name in ("ours", "theirs"):
        made = export("keygen", "--out", directory / name)
        assert made.returncode == 0, made.stderr
        assert made.stdout.splitlines()[-1] == str(directory / f"{name}.pub")
    return directory


@pytest.fixture(scope="module")
def signed_once(keys: Path, make_parts: Callable[[], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_bundle(tmp_path_factory.mktemp("bundles"), **make_parts())
    run = export("sign", "--bundle", path, "--key", keys / "ours.key")
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == str(path)
    return path


@pytest.fixture
def signed(signed_once: Path, tmp_path: Path) -> Path:
    """A copy of the signed bundle, to be damaged."""
    return Path(shutil.copytree(signed_once, tmp_path / "tiny" / signed_once.name))


def trust(keys: Path, *names: str) -> TrustedKeys:
    return TrustedKeys([keys / f"{name}.pub" for name in names])


def test_the_key_is_private_and_never_overwritten(keys: Path, tmp_path: Path) -> None:
    assert stat.S_IMODE((keys / "ours.key").stat().st_mode) == 0o600
    before = (keys / "ours.key").read_bytes()

    again = export("keygen", "--out", keys / "ours")
    assert again.returncode == 1
    assert "never overwritten" in again.stderr
    assert (keys / "ours.key").read_bytes() == before

    (tmp_path / "half.pub").write_text("somebody's")
    assert export("keygen", "--out", tmp_path / "half").returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["half.pub"]


@pytest.mark.parametrize("out", [".", "/", ""])
def test_a_key_needs_a_name(out: str) -> None:
    made = export("keygen", "--out", out)

    assert made.returncode == 1
    assert made.stderr.startswith("error: --out ")
    assert "names no file" in made.stderr


def test_a_key_that_was_interrupted_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        if (tmp_path / "ours.pub").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_keys(tmp_path / "ours")

    assert list(tmp_path.iterdir()) == []


def test_signing_changes_neither_version_nor_files(signed: Path, tiny_bundle_path: Path) -> None:
    assert signed.name == tiny_bundle_path.name
    assert load_bundle(signed).manifest.files == load_bundle(tiny_bundle_path).manifest.files


def test_a_bundle_signed_by_one_of_the_trusted_keys_is_taken(keys: Path, signed: Path) -> None:
    assert load_bundle(signed, keys=trust(keys, "theirs", "ours")).manifest.name == "tiny"


def test_unsigned_and_foreign_bundles_are_refused(keys: Path, signed: Path, tiny_bundle_path: Path) -> None:
    for bundle in (signed, tiny_bundle_path):
        with pytest.raises(BundleSignatureError, match="signed by none of the trusted keys"):
            load_bundle(bundle, keys=trust(keys, "theirs"))


def test_a_second_signer_is_added_and_the_first_stays(keys: Path, signed: Path) -> None:
    for _ in range(2):
        assert export("sign", "--bundle", signed, "--key", keys / "theirs.key").returncode == 0

    assert len(read_signatures(signed).signatures) == 2
    for name in ("ours", "theirs"):
        load_bundle(signed, keys=trust(keys, name))


def test_a_signature_that_is_none_hides_no_good_one(keys: Path, signed: Path) -> None:
    """Keys are rotated: the old signature may be one of an older manifest."""
    assert export("sign", "--bundle", signed, "--key", keys / "theirs.key").returncode == 0
    file = signed / SIGNATURE
    ours, theirs = msgspec.json.decode(file.read_bytes())["signatures"]
    ours["signature"] = theirs["signature"]
    file.write_bytes(msgspec.json.encode({"algorithm": "Ed25519", "signatures": [ours, theirs]}))

    load_bundle(signed, keys=trust(keys, "ours", "theirs"))
    with pytest.raises(BundleSignatureError, match=f"the signature of key {ours['key']} is not one of this manifest"):
        load_bundle(signed, keys=trust(keys, "ours"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace(b'"signature": "', b'"signature": "A', 1),
        lambda text: text.replace(b'"signature": "', b'"signature": "*', 1),
        lambda text: text.replace(b'"signature": "', '"signature": "é'.encode(), 1),
        lambda text: text.replace(b'"Ed25519"', b'"none"', 1),
        lambda text: b"{",
        lambda text: b'{"algorithm": "none", "signatures": []}',
    ],
)
def test_a_damaged_signature_is_refused(keys: Path, signed: Path, damage: Callable[[bytes], bytes]) -> None:
    file = signed / SIGNATURE
    file.write_bytes(damage(file.read_bytes()))

    with pytest.raises(BundleSignatureError):
        load_bundle(signed, keys=trust(keys, "ours"))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.truncate(path, 1 << 40)], ids=["pipe", "huge"])
def test_a_file_of_signatures_costs_neither_time_nor_memory(
    keys: Path, signed: Path, make: Callable[[Path], None]
) -> None:
    file = signed / SIGNATURE
    if make is os.mkfifo:
        file.unlink()
    make(file)

    with pytest.raises(BundleSignatureError, match=r"signature\.json cannot be read"):
        load_bundle(signed, keys=trust(keys, "ours"))


def test_the_signature_covers_even_what_the_version_leaves_out(keys: Path, signed: Path) -> None:
    manifest = msgspec.json.decode((signed / "manifest.json").read_bytes())
    (signed / "manifest.json").write_bytes(msgspec.json.encode({**manifest, "created_at": "1999-01-01T00:00:00+00:00"}))

    load_bundle(signed)
    with pytest.raises(BundleSignatureError, match="is not one of this manifest"):
        load_bundle(signed, keys=trust(keys, "ours"))


def test_files_are_covered_through_their_digests(keys: Path, signed: Path) -> None:
    (signed / "vocabulary.txt").write_bytes(b"[PAD]\n[UNK]\nother\n")

    with pytest.raises(BundleDigestError):
        load_bundle(signed, keys=trust(keys, "ours"))


def test_a_key_of_another_kind_is_refused_and_not_shown(keys: Path, signed: Path, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    for file in (secret, keys / "ours.pub"):
        run = export("sign", "--bundle", signed, "--key", file)
        assert run.returncode == 1
        assert "no Ed25519 private key" in run.stderr
        assert "hunter2" not in run.stderr
    with pytest.raises(BundleSignatureError, match="no Ed25519 public key"):
        TrustedKeys([keys / "ours.key"])


def test_the_setting_refuses_what_is_not_signed(
    keys: Path,
    signed: Path,
    tiny_bundle_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in os.environ if name.startswith("LIMELIGHT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LIMELIGHT_TRUSTED_KEYS", f"{keys / 'theirs.pub'},{keys / 'ours.pub'}")
    monkeypatch.setenv("LIMELIGHT_BUNDLE", str(signed))
    assert main(["config", "check", "--offline"]) == 0

    monkeypatch.setenv("LIMELIGHT_BUNDLE", str(tiny_bundle_path))
    assert main(["config", "check", "--offline"]) == 1
    assert "signed by none of the trusted keys" in capsys.readouterr().err
    monkeypatch.setenv("LIMELIGHT_TRUSTED_KEYS", "/no/such/key.pub")
    assert main(["config", "check", "--offline"]) == 1
    assert "/no/such/key.pub cannot be read" in capsys.readouterr().err
