"""``broker --secure DIR``: the directory that it makes, and that its users get in, and nobody else."""

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.errors import BrokerError
from deploy.local.kafka.secured.security import Security

pytestmark = pytest.mark.kafka

SECONDS = 90
NAME = "who's let in, ü"
"""Needs quotes in a shell, and escapes in a file of properties."""


@pytest.fixture
def command(broker: str, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """The running command. Asking for `broker` skips the test where no Kafka can be had."""
    directory = tmp_path / NAME
    arguments = [sys.executable, "-m", "deploy.local", "broker", "--secure", str(directory)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.send_signal(signal.SIGINT)


def test_what_is_printed_lets_a_user_in(command: "subprocess.Popen[str]", tmp_path: Path) -> None:
    assert command.stdout is not None
    lines = [command.stdout.readline() for _ in range(5)]
    [servers] = re.findall("bootstrap servers: (.*)", lines[0])
    [environment] = re.findall(r"as the administrator: set -a; \. (.*); set \+a", lines[3])

    with pytest.raises(KafkaError):
        KafkaAdminClient(bootstrap_servers=servers, bootstrap_timeout_ms=1000)
    script = f'set -a; . {environment}; set +a; exec "{sys.executable}" -m worker topics create'
    created = subprocess.run(
        ["sh", "-c", script], env=os.environ, capture_output=True, text=True, timeout=SECONDS, check=False
    )

    assert created.returncode == 0, created.stderr
    assert created.stdout.count("created") == 4
    private = {path.name for path in (tmp_path / NAME).iterdir() if path.stat().st_mode & 0o077}
    assert private == {"ca.pem", "admin.pem", "limelight.pem", "guest.pem"}
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o700


def test_a_directory_is_used_again_with_the_same_passwords(broker: str, tmp_path: Path) -> None:
    first = Security(tmp_path / "secured")
    password = first.files("admin").password.read_text()
    with Cluster.start(security=Security(tmp_path / "secured"), nodes=2) as cluster:
        options = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-256"}
        login = {"sasl_plain_username": "admin", "sasl_plain_password": password}
        servers = {"bootstrap_servers": cluster.bootstrap_servers, "ssl_cafile": str(tmp_path / "secured" / "ca.pem")}
        with KafkaAdminClient(**servers, **options, **login) as admin:
            assert len(admin.describe_cluster()["brokers"]) == 2


def test_a_directory_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(BrokerError, match="holds other files"):
        Security(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
