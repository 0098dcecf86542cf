"""Which cases there are: every fault in every setup, or a dozen that cover every pair of a setup's values."""

import os
from typing import NamedTuple

IS_WHOLE = os.environ.get("CONFORMANCE") == "whole"
"""Every fault in every setup, and more strikes of each, instead of the short form that is part of make test."""


class Setup(NamedTuple):
    """Where a fault happens."""

    nodes: int
    delivery: str
    client: str

    def __str__(self) -> str:
        return f"{self.nodes}-{self.delivery}-{self.client}"


ONCE, AT_LEAST = "exactly_once", "at_least_once"
PYTHON, RD = "kafka-python", "librdkafka"
EVERY_SETUP = [Setup(n, delivery, client) for n in (1, 3) for delivery in (ONCE, AT_LEAST) for client in (PYTHON, RD)]
KILLED = [setup for setup in EVERY_SETUP if setup.delivery == ONCE]
"""Setups that share the SIGKILLs of workers that KILLS asks for."""
BROKERS_KILLED = [setup for setup in KILLED if setup.nodes > 1]
"""Setups that share the SIGKILLs of brokers that BROKER_KILLS asks for."""
DOZEN = {
    "sigkill": Setup(1, ONCE, PYTHON),
    "sigterm": Setup(3, ONCE, RD),
    "sigstop": Setup(1, ONCE, RD),
    "broker": Setup(3, ONCE, PYTHON),
    "storm": Setup(3, AT_LEAST, RD),
    "scale_in": Setup(1, ONCE, RD),
    "poison": Setup(1, AT_LEAST, PYTHON),
    "killer": Setup(3, ONCE, RD),
    "slow": Setup(3, AT_LEAST, PYTHON),
    "refusal": Setup(3, ONCE, PYTHON),
    "partition": Setup(1, AT_LEAST, RD),
    "expired": Setup(1, ONCE, PYTHON),
}
"""Fault -> its setup in the short form. Together they hold every pair of nodes, delivery and client."""
SLOW = frozenset({"expelled", "takeover", "withdrawal"})
"""Variants that wait for timeouts of brokers and clients; only in the whole matrix."""


def strikes(*, short: int, whole: int, asked_for: int = 0) -> int:
    """How often a fault strikes in a case of the short form, and at least so often in one of the whole matrix."""
    return max(whole, asked_for) if IS_WHOLE else short


def share(variable: str, setup: Setup, among: list[Setup]) -> int:
    """What `setup` has to do so that `among` together do as much as the environment's variable asks for."""
    return -(-int(os.environ.get(variable) or 0) // len(among)) if setup in among else 0


def setups(fault: str, *, whole: bool) -> list[Setup]:
    """Setups in which a fault is tried."""
    if whole:
        return EVERY_SETUP
    return [] if fault in SLOW else [DOZEN[fault]]
