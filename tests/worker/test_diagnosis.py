"""What a dying broker does by chance is not taken for what a strict one does on purpose."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from worker.transport.diagnosis import Access, find_refusal

pytestmark = pytest.mark.fast


@contextlib.contextmanager
def dying_broker(answers: list[bool]) -> Iterator[str]:
    """Answers the first request of each connection, or ends it at once, as `answers` says in turn; then it is gone."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for is_answered in answers:
                connection, _ = server.accept()
                with connection:
                    if is_answered:
                        [size] = struct.unpack(">i", connection.recv(4))
                        request = connection.recv(size)
                        connection.sendall(struct.pack(">i", 4) + request[4:8])
                        connection.recv(1 << 16)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            thread.join()


# For each look: is it TLS, and then the first steps in the clear.
ONE_LOOK = [False, True]


def test_who_refuses_twice_in_the_same_way_means_it() -> None:
    with dying_broker(ONE_LOOK * 2) as server:
        assert "wants a login" in str(find_refusal(Access(server)))


def test_who_refuses_once_and_is_gone_was_dying() -> None:
    with dying_broker([*ONE_LOOK, False, False]) as server:
        assert find_refusal(Access(server)) is None
