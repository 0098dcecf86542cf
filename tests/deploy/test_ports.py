"""Ports are free, different, and never those of outgoing connections."""

import socket
from pathlib import Path

import pytest

from deploy.local.kafka.ports import HIGHEST, LOOPBACK, choose_ports, is_free

pytestmark = pytest.mark.fast


def test_chosen_ports_are_different_and_can_be_listened_on() -> None:
    ports = choose_ports(20)
    assert len(set(ports)) == 20
    assert all(is_free(port) for port in ports)


def test_a_port_with_a_listener_is_not_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_the_kernel_does_not_hand_out_such_ports_to_clients() -> None:
    path = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not path.exists():
        pytest.skip("only Linux says which ports it hands out to clients")
    lowest = int(path.read_text().split()[0])
    if lowest < 32_768:
        pytest.skip(f"this machine hands out ports from {lowest} up to clients, not from 32768 up as Linux does")
    assert lowest > HIGHEST
