"""Chooses TCP ports for brokers."""

import random
import socket

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes the ports of outgoing connections (32768 on Linux, 49152 elsewhere): there
# a client that keeps calling a broker which is down can get that very port, connect to itself, and lock the broker out.
LOWEST, HIGHEST = 15_000, 32_000


def choose_ports(count: int) -> list[int]:
    """Different ports on which nothing listens now. Somebody may still be faster: the caller retries."""
    chosen: list[int] = []
    while len(chosen) < count:
        port = random.randint(LOWEST, HIGHEST)
        if port not in chosen and is_free(port):
            chosen.append(port)
    return chosen


def is_free(port: int) -> bool:
    """True if a server could listen on `port` now."""
    with socket.socket() as probe:
        # As Java does: connections that were closed a moment ago are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
