"""Ctrl-C while a command waits for a broker that does not speak: it ends at once, with nothing to read on the way."""

import os
import signal
import socket
import subprocess
import sys

import pytest

pytestmark = pytest.mark.kafka

PATIENCE_SECONDS = 60
INTERRUPTED = 128 + signal.SIGINT
COMMANDS = ("feed", "tail", "topics check", "dlq inspect", "dlq replay --id x --dry-run")


@pytest.mark.parametrize("command", COMMANDS)
def test_it_ends_quietly(command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_SECONDS)
        host, port = silent.getsockname()
        with subprocess.Popen(
            [sys.executable, "-m", "worker", *command.split()],
            env={**os.environ, "LIMELIGHT_BOOTSTRAP_SERVERS": f"{host}:{port}"},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                connection, _ = silent.accept()
                with connection:
                    assert connection.recv(1), "it asks"
                    process.send_signal(signal.SIGINT)
                    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
            finally:
                process.kill()
    assert (process.returncode, errors) == (INTERRUPTED, "")
