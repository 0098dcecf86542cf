"""Whom to ask when none of the brokers that a client knows can be asked.

A broker that has just started may name itself as the only one. When it then goes away, kafka-python knows nobody else,
and waits for that one: one of three brokers killed stopped a worker for 47 s. Java's client asks the bootstrap servers
again, and so does this one here.
"""

import random

from kafka.net.compat import KafkaNetClient


def fall_back_on_bootstrap_servers(network: KafkaNetClient) -> None:
    """Makes the client choose a bootstrap server where it would find no broker to ask."""
    manager = network._manager
    choose = manager.least_loaded_node

    def choose_or_fall_back() -> int | str | None:
        node: int | str | None = choose()
        if node is not None:
            return node
        servers = [each.node_id for each in manager.cluster.bootstrap_brokers()]
        waiting = [each for each in servers if manager.connection_delay(each) == 0]
        return random.choice(waiting) if waiting else None

    manager.least_loaded_node = choose_or_fall_back
