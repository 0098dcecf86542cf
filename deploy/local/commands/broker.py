"""``python -m deploy.local broker``: real Kafka brokers that end with this command."""

import argparse
import time
from pathlib import Path

from deploy.local.kafka.cluster import Cluster
from deploy.local.processes import interrupt_on_termination
from worker.files import write_file

CHECK_SECONDS = 0.5
HIGHEST_PORT = 65_535


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("--nodes", type=_positive, default=1, metavar="N", help="brokers to start (default: 1)")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="keep the data here (default: temporary, removed at the end)"
    )
    parser.add_argument(
        "--port", type=_port, metavar="P", help="port of the first broker, the others follow (default: free ones)"
    )
    parser.add_argument(
        "--property",
        type=_property,
        action="append",
        default=[],
        dest="properties",
        metavar="KEY=VALUE",
        help="broker property in place of ours; may be given again",
    )
    parser.add_argument(
        "--ready-file", type=_file, metavar="FILE", help="write the bootstrap servers here once all brokers serve"
    )


def run(arguments: argparse.Namespace) -> int:
    """Starts the brokers and keeps them until Ctrl-C or SIGTERM.

    Raises:
        LimelightError: no Kafka can be had, or a broker did not come up, or ended.
    """
    interrupt_on_termination()
    try:
        with Cluster.start(
            nodes=arguments.nodes,
            data_dir=arguments.data_dir and arguments.data_dir.absolute(),
            port=arguments.port,
            properties=dict(arguments.properties),
        ) as cluster:
            if arguments.ready_file:
                write_file(arguments.ready_file, f"{cluster.bootstrap_servers}\n".encode())
            print(f"bootstrap servers: {cluster.bootstrap_servers}", flush=True)
            while True:
                cluster.check_alive()
                time.sleep(CHECK_SECONDS)
    except KeyboardInterrupt:
        return 0
    finally:
        # The file says "ready now"; it must not outlive the brokers.
        if arguments.ready_file:
            arguments.ready_file.unlink(missing_ok=True)


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _port(text: str) -> int:
    if not 1 <= (value := int(text)) <= HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text} is not a port: 1 to {HIGHEST_PORT}")
    return value


def _file(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {path.parent}")
    return path


def _property(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key.strip(), value.strip()
