"""The audit of the locked packages: what it may call clean."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.audit import CLEAN, UNKNOWN, VULNERABLE, describe, judge

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]

KNOWN = '{"name": "a", "version": "1", "vulns": []}'
BAD = '{"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"], "description": "x"}]}'
SKIPPED = '{"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)"}'


@pytest.mark.parametrize(
    ("packages", "status"),
    [
        ([KNOWN], CLEAN),
        ([KNOWN, BAD], VULNERABLE),
        ([KNOWN, SKIPPED], UNKNOWN),
        ([BAD, SKIPPED], VULNERABLE),
    ],
)
def test_only_what_was_checked_counts_as_clean(packages: list[str], status: int) -> None:
    outcome = judge(f'{{"dependencies": [{", ".join(packages)}], "fixes": []}}', "")

    assert outcome.status == status
    said = "\n".join(describe(Path("x.lock"), outcome))
    assert ("PYSEC-1, fixed in 3" in said) == (BAD in packages)
    assert ("NOT CHECKED: c" in said) == (SKIPPED in packages)


def test_a_source_that_cannot_be_reached_is_no_finding() -> None:
    outcome = judge("", "Traceback ...\nrequests.exceptions.ConnectionError: no route")

    assert outcome.status == UNKNOWN
    assert "NOT CHECKED: all" in "\n".join(describe(Path("x.lock"), outcome))


def test_the_target_audits_every_lock_of_the_project() -> None:
    locks = [*ROOT.glob("requirements/*.lock"), *ROOT.glob("tests/**/*.lock")]
    [command] = [line for line in (ROOT / "Makefile").read_text().splitlines() if "-m deploy.audit " in line]
    assert set(command.partition("-m deploy.audit ")[2].split()) == {str(lock.relative_to(ROOT)) for lock in locks}


def test_without_a_network_the_status_says_that_nothing_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "one.lock"
    lock.write_text("msgspec==0.19.0\n")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    run = subprocess.run(
        [sys.executable, "-m", "deploy.audit", str(lock)], capture_output=True, text=True, timeout=120, check=False
    )

    assert run.returncode == UNKNOWN
    assert "0 packages checked" in run.stdout
    assert "NOT CHECKED" in run.stdout
