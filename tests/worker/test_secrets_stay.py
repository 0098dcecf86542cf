"""No secret in anything that a command prints, logs or shows of its process: a marked one is looked for everywhere."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytestmark = pytest.mark.kafka

MARK = "marked-secret-7d1f"
TIMEOUT_SECONDS = 90
CRASH = "from worker.settings import Settings; s = Settings.from_environment(); raise RuntimeError(s, vars(s))"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, tiny_bundle_path: Path, broker: str) -> dict[str, str]:
    """A login in which everything that may be secret is marked; the broker wants none of it."""
    directory = tmp_path_factory.mktemp("secrets")
    (directory / "password").write_text(f"{MARK}-password")
    (directory / "LIMELIGHT_ADMIN_TOKEN").write_text(f"{MARK}-token-from-directory")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LIMELIGHT_")}
    return inherited | {
        "LIMELIGHT_BOOTSTRAP_SERVERS": broker,
        "LIMELIGHT_BUNDLE": str(tiny_bundle_path),
        "LIMELIGHT_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "LIMELIGHT_SASL_MECHANISM": "SCRAM-SHA-512",
        "LIMELIGHT_SASL_USERNAME": "reader",
        "LIMELIGHT_SASL_PASSWORD_FILE": str(directory / "password"),
        "LIMELIGHT_SECRETS_DIR": str(directory),
        "LIMELIGHT_LOG_LEVEL": "debug",
    }


OAUTH = {
    "LIMELIGHT_SASL_MECHANISM": "OAUTHBEARER",
    "LIMELIGHT_SASL_TOKEN_URL": "http://127.0.0.1:1/token",
}
KEY = {"LIMELIGHT_PROPERTIES": f'{{"ssl.key.pem": "{MARK}-key", "ssl.keystore.password": "{MARK}-keystore"}}'}
CASES: list[tuple[list[str], dict[str, str], int]] = [
    (["config", "show"], {}, 0),
    (["config", "show", "--json"], {}, 0),
    *(
        (command, {"LIMELIGHT_TRANSPORT": transport}, 1)
        for transport in ("kafka-python", "librdkafka")
        for command in (["config", "check"], ["topics", "check"], ["run"], ["feed", "--input", os.devnull])
    ),
    (["run"], OAUTH, 1),
    (["run"], {**OAUTH, "LIMELIGHT_TRANSPORT": "librdkafka"}, 1),
    (["run"], {**KEY, "LIMELIGHT_TRANSPORT": "librdkafka"}, 1),
    (["run"], KEY, 1),
    (["config", "show"], {"LIMELIGHT_SASL_PASSWORD": f"{MARK}-twice"}, 1),
    (["config", "show"], {"LIMELIGHT_PROPERTIES": f"ssl.key.pem={MARK},x"}, 1),
    (["config", "show"], {"LIMELIGHT_ADMIN_TOKEN": "short"}, 1),
    (["config", "show"], {"LIMELIGHT_SSL_KEY_PASSWORD": f"{MARK}-key-password"}, 1),
]


def command_lines(pid: int) -> Iterator[bytes]:
    """Arguments of a process and of its children, as everybody on the machine can see them."""
    yield Path(f"/proc/{pid}/cmdline").read_bytes()
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from command_lines(int(child))


def test_a_marked_secret_shows_up_nowhere(environment: dict[str, str]) -> None:
    with ExitStack() as opened:
        # Side by side: several of them wait for a broker for ten seconds.
        started = []
        for arguments, changes, status in CASES:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker", *arguments],
                env=environment | changes,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            opened.callback(process.kill)
            started.append((process, arguments, changes, status))
        seen = b"".join(line for process, *_ in started if process.poll() is None for line in _lines(process.pid))
        for process, arguments, changes, status in started:
            output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
            assert MARK not in output, (arguments, changes)
            assert process.returncode == status, (arguments, changes, output)
            assert ("error: " in output) == (status == 1), output
        assert MARK.encode() not in seen
        assert b"worker" in seen


def _lines(pid: int) -> list[bytes]:
    try:
        return list(command_lines(pid))
    except OSError:  # it has just ended
        return []


def test_a_crash_shows_none_in_its_traceback(environment: dict[str, str]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", CRASH],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )

    assert "RuntimeError" in run.stderr
    assert "sasl_password" in run.stderr
    assert MARK not in run.stdout + run.stderr
