"""``python -m deploy.local broker``: real Kafka brokers that end with this command."""

import argparse
import time

from deploy.local.kafka.cluster import Cluster
from deploy.local.processes import interrupt_on_termination

CHECK_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="brokers to start (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Starts the brokers and keeps them until Ctrl-C or SIGTERM."""
    interrupt_on_termination()
    try:
        with Cluster.start(nodes=arguments.nodes) as cluster:
            print(f"bootstrap servers: {cluster.bootstrap_servers}", flush=True)
            while True:
                for node in cluster.nodes:
                    node.check_alive()
                time.sleep(CHECK_SECONDS)
    except KeyboardInterrupt:
        return 0
