"""The jail, around a small server that listens on every interface as TensorFlow Federated's worker does."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from federated.process import own_server

pytestmark = pytest.mark.fast

SERVER = """
import os, socket, sys
port = int(sys.argv[1].removeprefix("--port="))
with socket.create_server(("", port)) as server:
    while True:
        client, _ = server.accept()
        with client:
            question = client.recv(100)
            if question == b"exit":
                os._exit(3)
            client.sendall(b"%d %d %s" % (os.getpid(), port, question))
"""
COMMAND = [sys.executable, "-I", "-S", "-c", SERVER]
DEADLINE_SECONDS = 20.0


def ask(target: str, question: bytes) -> tuple[int, int, bytes]:
    """Returns the server's process id, its port and the echo of the question."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_SECONDS)
        client.connect("\0" + target.removeprefix("unix-abstract:"))
        client.sendall(question)
        answer = b""
        while chunk := client.recv(100):
            answer += chunk
    pid, port, echo = answer.split(b" ", 2)
    return int(pid), int(port), echo


def is_gone(pid: int) -> bool:
    """Whether the process has ended with all of its threads; its parent may still have to read the status."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "Z" and len(list(Path(f"/proc/{pid}/task").iterdir())) == 1
    except FileNotFoundError:
        return True


def can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_the_owner_reaches_the_server_and_nobody_else_does(capfd):
    with own_server(COMMAND) as server:
        _, port, echo = ask(server.target, b"hello")
        assert echo == b"hello"
        if "no private network" in capfd.readouterr().err:
            pytest.skip("this system allows no private network")
        assert not can_connect(port)


def test_connections_are_relayed_side_by_side():
    with own_server(COMMAND) as server, socket.socket(socket.AF_UNIX) as idle:
        idle.connect("\0" + server.target.removeprefix("unix-abstract:"))
        answers = []
        idle.sendall(b"first, and stays")
        threads = [threading.Thread(target=lambda: answers.append(ask(server.target, b"x")[2])) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
        assert answers == [b"x"] * 5


def test_another_user_is_turned_away():
    if os.geteuid() != 0:
        pytest.skip("becoming another user takes root")
    with own_server(COMMAND) as server:
        ask(server.target, b"hello")
        script = (
            "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
            "s.connect(chr(0) + sys.argv[1]); s.sendall(b'hello'); print(len(s.recv(100)))"
        )
        name = server.target.removeprefix("unix-abstract:")
        answer = subprocess.run([sys.executable, "-c", script, name], check=False, capture_output=True, text=True)
        assert answer.stdout == "0\n" or "ConnectionResetError" in answer.stderr or "BrokenPipe" in answer.stderr


def test_the_server_ends_with_the_block_and_its_end_is_known():
    with own_server(COMMAND) as server:
        pid, _, _ = ask(server.target, b"hello")
    assert is_gone(pid)
    assert server.process.returncode is not None


def test_the_server_ends_with_a_block_that_fails():
    pids = []

    def fail_inside() -> None:
        with own_server(COMMAND) as server:
            pids.append(ask(server.target, b"hello")[0])
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert is_gone(pids[0])


def test_the_jail_ends_with_its_server_and_with_the_same_status():
    with own_server(COMMAND) as server, socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + server.target.removeprefix("unix-abstract:"))
        client.sendall(b"exit")
        assert server.process.wait(DEADLINE_SECONDS) == 3


def test_a_server_that_is_killed_is_reported_as_a_shell_would():
    with own_server(COMMAND) as server:
        os.kill(ask(server.target, b"hello")[0], signal.SIGKILL)
        assert server.process.wait(DEADLINE_SECONDS) == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_an_owner_that_is_killed(number, wait_for):
    script = (
        "import signal, sys\n"
        "from federated.process import own_server\n"
        "with own_server(sys.argv[1:]) as server:\n"
        "    print(server.process.pid, server.target, flush=True)\n"
        "    signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, *COMMAND], stdout=subprocess.PIPE, text=True) as owner:
        jail, target = owner.stdout.readline().split()
        pid, port, _ = ask(target, b"hello")
        owner.send_signal(number)
        owner.wait(DEADLINE_SECONDS)
    wait_for(lambda: is_gone(int(jail)) and is_gone(pid))
    assert not can_connect(port)
    with pytest.raises(ConnectionRefusedError):
        ask(target, b"hello")


def test_a_thread_cannot_own_a_server():
    failures = []

    def own() -> None:
        try:
            with own_server(COMMAND):
                pass
        except RuntimeError as error:
            failures.append(str(error))

    thread = threading.Thread(target=own)
    thread.start()
    thread.join(DEADLINE_SECONDS)
    assert failures
    assert "main thread" in failures[0]
