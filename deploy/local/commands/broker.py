"""``python -m deploy.local broker``: real Kafka brokers that end with this command."""

import argparse
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.local.destination import writable_file
from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.ready_file import ReadyFile
from deploy.local.kafka.secured.security import Security
from deploy.local.kafka.secured.users import ADMIN, WORKER
from deploy.local.processes import interrupt_on_termination

CHECK_SECONDS = 0.5
HIGHEST_PORT = 65_535
MAX_NODES = 16
"""Each is a Java of a quarter of a gigabyte: a slip of the finger should not take the machine down."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.set_defaults(refuse=parser.error)
    parser.add_argument("--nodes", type=_nodes, default=1, metavar="N", help="brokers to start (default: 1)")
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
        "--secure",
        type=Path,
        metavar="DIR",
        help="let nobody in without a login over TLS, and grant rights by ACLs: passwords, certificates, tokens and "
        "settings of the users admin, limelight and guest are written into DIR (new, or from an earlier start)",
    )
    parser.add_argument(
        "--optimize",
        action="store_true",
        help="let Java compile as well as it can, as brokers do that live for long: slower at first, faster later",
    )
    parser.add_argument(
        "--ready-file",
        type=writable_file,
        metavar="FILE",
        help="write the bootstrap servers here once all brokers serve",
    )


def run(arguments: argparse.Namespace) -> int:
    """Starts the brokers and keeps them until Ctrl-C or SIGTERM.

    Raises:
        LimelightError: no Kafka can be had, or a broker did not come up, or ended.
    """
    refuse: Callable[[str], Any] = arguments.refuse
    if arguments.port is not None and arguments.port + arguments.nodes - 1 > HIGHEST_PORT:
        refuse(f"--port {arguments.port} leaves no ports for {arguments.nodes} nodes: the highest is {HIGHEST_PORT}")
    interrupt_on_termination()
    security = None if arguments.secure is None else Security(arguments.secure.absolute())
    notice = None if arguments.ready_file is None else ReadyFile(arguments.ready_file)
    try:
        with Cluster.start(
            nodes=arguments.nodes,
            data_dir=arguments.data_dir and arguments.data_dir.absolute(),
            port=arguments.port,
            properties=dict(arguments.properties),
            security=security,
            optimize=arguments.optimize,
        ) as cluster:
            if notice:
                notice.write(cluster.bootstrap_servers)
            print(f"bootstrap servers: {cluster.bootstrap_servers}", flush=True)
            if security:
                _explain(security, cluster)
            while True:
                cluster.check_alive()
                time.sleep(CHECK_SECONDS)
    except KeyboardInterrupt:
        return 0
    finally:
        if notice:
            notice.remove()


def _explain(security: Security, cluster: Cluster) -> None:
    worker, admin = security.files(WORKER), security.files(ADMIN)
    environments = [shlex.quote(str(files.environment)) for files in (worker, admin)]
    print(
        f"with a certificate: {cluster.certificate_servers}\n"
        f"as the worker's user: set -a; . {environments[0]}; set +a\n"
        f"as the administrator: set -a; . {environments[1]}; set +a\n"
        f"Kafka's own tools: --command-config {shlex.quote(str(admin.properties))}",
        flush=True,
    )


def _nodes(text: str) -> int:
    return _number(text, most=MAX_NODES, what="number of nodes")


def _port(text: str) -> int:
    return _number(text, most=HIGHEST_PORT, what="port")


def _number(text: str, *, most: int, what: str) -> int:
    if not text.isdecimal() or not 1 <= (value := int(text)) <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a {what}: 1 to {most}")
    return value


def _property(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key.strip(), value.strip()
