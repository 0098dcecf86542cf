"""A missed bar is marked, and fails the whole form when all cases have run. The short form has patience."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness.report import Report

pytestmark = pytest.mark.fast

CASES = """
def test_slow(note_waits): note_waits("SIGKILL", [2.5, 3.5], bar_seconds=3)
def test_quick(note_waits): note_waits("SIGKILL", [2.5], bar_seconds=3)
"""


def test_each_overshoot_stands_beside_its_bar() -> None:
    report = Report()
    report.add_waits("case", "SIGKILL", [2.0, 3.25, 4.5], bar_seconds=3, is_promised=True)
    report.add_waits("case", "a guide", [7.0], bar_seconds=3, is_promised=False)
    report.add_figure("case", "ratio", 2.5, bar=2)
    report.add_figure("case", "without a bar", 99, bar=None)

    _, wait, guided, ratio, free, sums = report.table().splitlines()

    assert wait.endswith("3 s  MISSED by 2: 3.25 4.50")
    assert guided.endswith("(3 s)")
    assert ratio.endswith("2  MISSED")
    assert free.endswith("99.00")
    assert sums.endswith("bars missed: 3")


@pytest.mark.parametrize(
    ("variables", "status"),
    [
        ({"CONFORMANCE": "whole"}, pytest.ExitCode.TESTS_FAILED),
        ({}, pytest.ExitCode.OK),
        ({"CONFORMANCE": "whole", "CONFORMANCE_WORKER": "other"}, pytest.ExitCode.OK),
    ],
    ids=["whole", "short", "another worker"],
)
def test_a_missed_bar_fails_the_whole_form_after_all_cases(
    variables: dict[str, str], status: int, tmp_path: Path
) -> None:
    ended = run_cases(tmp_path, variables)

    assert ended.returncode == status, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout
    assert "MISSED by 1: 3.50" in ended.stdout


def test_the_whole_form_does_not_run_cases_side_by_side(tmp_path: Path) -> None:
    ended = run_cases(tmp_path, {"CONFORMANCE": "whole"}, "-n", "2")

    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert "omit -n" in ended.stderr


def run_cases(directory: Path, variables: dict[str, str], *options: str) -> "subprocess.CompletedProcess[str]":
    """The cases above in a session of their own, with the suite's fixtures."""
    (directory / "test_cases.py").write_text(CASES)
    suite = Path(__file__).parent
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CONFORMANCE", "PYTEST"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "xdist", "--rootdir", directory, *options, directory],
        env={
            **inherited,
            **variables,
            "PYTHONPATH": f"{suite.parents[1]}:{suite}",
            # Looking for what it does not need takes longer than all the rest.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
