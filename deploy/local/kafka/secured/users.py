"""Who there is in a secured cluster, what they may do, and the files by which they connect.

=============  ==========================================================================================
user           may
=============  ==========================================================================================
``admin``      everything: create topics, grant rights, fill and read every topic
``limelight``  what a worker with the default topics and group needs, and nothing else
``guest``      log in
=============  ==========================================================================================
"""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)

from deploy.local.kafka.java_properties import render_properties_file

ADMIN, WORKER, GUEST = "admin", "limelight", "guest"
USERS = (ADMIN, WORKER, GUEST)
MECHANISM = "SCRAM-SHA-512"
_WORKER_RIGHTS = (
    (ResourceType.TOPIC, "limelight.events", ACLResourcePatternType.LITERAL, ACLOperation.READ),
    (ResourceType.TOPIC, "limelight.events.dlq", ACLResourcePatternType.LITERAL, ACLOperation.WRITE),
    (ResourceType.TOPIC, "limelight.predictions", ACLResourcePatternType.LITERAL, ACLOperation.WRITE),
    (ResourceType.TOPIC, "limelight.shadow", ACLResourcePatternType.LITERAL, ACLOperation.WRITE),
    (ResourceType.TOPIC, "limelight.status", ACLResourcePatternType.LITERAL, ACLOperation.WRITE),
    # It looks up who took its name over.
    (ResourceType.TOPIC, "limelight.status", ACLResourcePatternType.LITERAL, ACLOperation.READ),
    (ResourceType.GROUP, "limelight", ACLResourcePatternType.LITERAL, ACLOperation.READ),
    (ResourceType.TRANSACTIONAL_ID, "limelight.", ACLResourcePatternType.PREFIXED, ACLOperation.WRITE),
)


class UserFiles(NamedTuple):
    """What a user needs to connect, each in a file of its own."""

    password: Path
    certificate: Path
    key: Path
    token: Path
    environment: Path
    """``LIMELIGHT_`` variables, to be sourced by a shell."""
    properties: Path
    """For Kafka's own tools."""

    @classmethod
    def of(cls, directory: Path, user: str) -> "UserFiles":
        """Where the files of `user` stand."""
        return cls(*(directory / f"{user}.{kind}" for kind in ("password", "pem", "key", "token", "env", "properties")))


def principals(user: str) -> tuple[str, str]:
    """How the brokers call `user`: with a password or a token, and with a certificate."""
    return f"User:{user}", f"User:CN={user}"


def worker_rules() -> Iterator[ACL]:
    """What the worker is allowed."""
    for principal in principals(WORKER):
        for kind, name, pattern, operation in _WORKER_RIGHTS:
            yield ACL(principal, "*", operation, ACLPermissionType.ALLOW, ResourcePattern(kind, name, pattern))


def render_environment(user: str, files: UserFiles, *, servers: str, authority: Path) -> str:
    """The settings with which a worker connects as `user`."""
    variables = {
        "BOOTSTRAP_SERVERS": servers,
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": MECHANISM,
        "SASL_USERNAME": user,
        "SASL_PASSWORD_FILE": str(files.password),
        "SSL_CA_FILE": str(authority),
    }
    return "".join(f"LIMELIGHT_{name}={shlex.quote(value)}\n" for name, value in variables.items())


def render_properties(user: str, password: str, *, servers: str, authority: Path) -> str:
    """The same for ``--command-config`` of Kafka's tools."""
    login = "org.apache.kafka.common.security.scram.ScramLoginModule"
    properties = {
        "bootstrap.servers": servers,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": MECHANISM,
        "sasl.jaas.config": f'{login} required username="{user}" password="{password}";',
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority),
    }
    return render_properties_file(properties)
