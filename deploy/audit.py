"""``python -m deploy.audit LOCK...``: are vulnerabilities known in the packages that are locked?

pip-audit is asked with two sources of advisories, one after the other. It calls a package clean that its source does
not know, and an unreachable source looks like a finding; here each package counts as checked only if a source knew it.

======  ================================================
status  meaning
======  ================================================
0       every package was checked, and none is vulnerable
1       at least one has a known vulnerability
3       none is known, but not every package was checked
======  ================================================
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

CLEAN, VULNERABLE, UNKNOWN = 0, 1, 3
SOURCES = ("pypi", "osv")
ANSWER_SECONDS = 10
AUDIT_SECONDS = 600


class Advisory(msgspec.Struct):
    """One vulnerability, as pip-audit tells it."""

    id: str
    fix_versions: list[str] = []


class Package(msgspec.Struct):
    """A locked package, as pip-audit tells it."""

    name: str
    version: str = ""
    vulns: list[Advisory] | None = None
    """None if the source does not know the package."""


class _Report(msgspec.Struct):
    dependencies: list[Package]


class Outcome(NamedTuple):
    """What is known about a lock."""

    checked: list[Package]
    unchecked: list[str]
    """Names of packages that no source knew, or ``all`` where none could be asked."""
    reason: str
    """Why, in the words of the last source that was asked."""

    @property
    def status(self) -> int:
        """The exit status for this lock alone."""
        if any(package.vulns for package in self.checked):
            return VULNERABLE
        return UNKNOWN if self.unchecked else CLEAN


def main(argv: Sequence[str]) -> int:
    """Audits every lock and returns the worst status: vulnerable, unknown, clean."""
    parser = argparse.ArgumentParser(prog="python -m deploy.audit", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("locks", nargs="+", type=Path, metavar="LOCK")
    outcomes = {lock: audit(lock) for lock in parser.parse_args(argv).locks}
    for lock, outcome in outcomes.items():
        print("\n".join(describe(lock, outcome)))
    statuses = {outcome.status for outcome in outcomes.values()}
    return next(status for status in (VULNERABLE, UNKNOWN, CLEAN) if status in statuses)


def audit(lock: Path) -> Outcome:
    """Asks one source after the other until one knows every package."""
    outcomes = []
    for source in SOURCES:
        outcome = _ask(lock, source)
        outcomes.append(outcome)
        if outcome.status != UNKNOWN:
            return outcome
    # Of two incomplete answers the one that tells more.
    return max(outcomes, key=lambda outcome: len(outcome.checked))


def judge(output: str, complaint: str) -> Outcome:
    """Reads what pip-audit printed.

    Args:
        output: its report, or nothing.
        complaint: what it wrote on stderr.
    """
    try:
        packages = msgspec.json.decode(output, type=_Report).dependencies
    except msgspec.DecodeError:
        lines = complaint.strip().splitlines()
        return Outcome([], ["all"], lines[-1] if lines else "pip-audit said nothing")
    checked = [package for package in packages if package.vulns is not None]
    unchecked = [package.name for package in packages if package.vulns is None]
    return Outcome(checked, unchecked, "the source of advisories does not know them")


def describe(lock: Path, outcome: Outcome) -> list[str]:
    """Lines for people."""
    found = [package for package in outcome.checked if package.vulns]
    lines = [f"{lock}: {len(outcome.checked)} packages checked, {len(found)} with known vulnerabilities"]
    for package in found:
        for each in package.vulns or []:
            cure = f"fixed in {', '.join(each.fix_versions)}" if each.fix_versions else "not fixed yet"
            lines.append(f"  {package.name} {package.version}: {each.id}, {cure}")
    if outcome.unchecked:
        names = ", ".join(outcome.unchecked)
        lines.append(f"  NOT CHECKED: {names}. {outcome.reason}. Run this where the advisories can be reached.")
    return lines


def _ask(lock: Path, source: str) -> Outcome:
    options = ["--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off"]
    which = ["--requirement", str(lock), "--vulnerability-service", source, "--timeout", str(ANSWER_SECONDS)]
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pip_audit", *options, *which],
            capture_output=True,
            text=True,
            timeout=AUDIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome([], ["all"], f"{source} did not answer within {AUDIT_SECONDS} s")
    return judge(run.stdout, run.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
