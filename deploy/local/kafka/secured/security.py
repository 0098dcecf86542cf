"""The directory of a secured cluster: authority, users, tokens, and what the nodes are configured with.

::

    DIR/                    readable by its owner only
    ├── ca.pem, ca.key      the authority that every certificate comes from
    ├── tokens.key          signs the tokens
    └── <user>.{password, pem, key, token, env, properties}     see `deploy.local.kafka.secured.users`

What must last is made once; certificates and tokens are new with each start.
"""

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion
from kafka.errors import KafkaError

from deploy.local.kafka.configuration import Endpoints
from deploy.local.kafka.errors import BrokerError
from deploy.local.kafka.ports import LOOPBACK
from deploy.local.kafka.secured.authority import PRIVATE, Authority
from deploy.local.kafka.secured.tokens import AUDIENCE, TokenIssuer
from deploy.local.kafka.secured.users import (
    ADMIN,
    USERS,
    UserFiles,
    principals,
    render_environment,
    render_properties,
    worker_rules,
)
from worker.files import write_file

NODE = "node"
"""Common name in the certificates of the nodes."""
MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER")
PASSWORD_BYTES = 24
_MODULES = "org.apache.kafka.common.security"
_VALIDATOR = f"{_MODULES}.oauthbearer.OAuthBearerValidatorCallbackHandler"


class Security:
    """Makes a cluster demand logins, and its users able to log in."""

    def __init__(self, directory: Path) -> None:
        """
        Args:
            directory: made if need be; one from an earlier start is used again.

        Raises:
            BrokerError: it holds something else, or cannot be used.
        """
        self.directory = directory
        self.certificate_of_authority = directory / "ca.pem"
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (directory / "ca.key").exists() and any(directory.iterdir()):
                raise BrokerError(f"{directory} holds other files. Name an empty directory, or one that does not exist")
            self.authority = Authority.load_or_create(self.certificate_of_authority, directory / "ca.key")
            self.tokens = TokenIssuer.load_or_create(directory / "tokens.key")
            self._passwords = {user: self._write_user(user) for user in USERS}
        except OSError as error:
            raise BrokerError(f"{directory} cannot be used: {error.strerror}. Name another directory") from error

    def files(self, user: str) -> UserFiles:
        """Where the files of `user` stand."""
        return UserFiles.of(self.directory, user)

    def node_properties(self, own: Endpoints, directory: Path) -> dict[str, str]:
        """The broker properties of a node, whose certificate is written into its own directory.

        Args:
            own: its ports.
            directory: the node's; in a container it is all that the node sees.

        Raises:
            BrokerError: the node would not find its keys for tokens there.
        """
        keystore, truststore, keys = directory / "node.pem", directory / "ca.pem", directory / "tokens.json"
        if keys.as_uri() != f"file://{keys}":
            # Kafka wants their place as an address, and then looks for a file that is called like the address.
            raise BrokerError(
                f"brokers with --secure cannot keep their data in {directory.parent}: its path may have only letters "
                "and digits of ASCII, '-', '.', '_' and '~'. Choose another --data-dir"
            )
        issued = self.authority.issue(NODE, address=LOOPBACK)
        write_file(keystore, issued.key + issued.certificate, mode=PRIVATE)
        write_file(truststore, self.certificate_of_authority.read_bytes())
        write_file(keys, self.tokens.key_set())
        return {
            **self._listeners(own),
            **self._logins(keys),
            **{f"ssl.{kind}.type": "PEM" for kind in ("keystore", "truststore")},
            "ssl.keystore.location": str(keystore),
            "ssl.truststore.location": str(truststore),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": ";".join([principals(NODE)[1], *principals(ADMIN)]),
        }

    def system_properties(self, directory: Path) -> dict[str, str]:
        """What the node's Java has to be told: the only file from which it may take keys for tokens."""
        return {"org.apache.kafka.sasl.oauthbearer.allowed.urls": (directory / "tokens.json").as_uri()}

    def admin_connection(self) -> dict[str, Any]:
        """Properties with which kafka-python connects as `ADMIN`, before there is any password."""
        files = self.files(ADMIN)
        return {
            "security_protocol": "SSL",
            "ssl_cafile": str(self.certificate_of_authority),
            "ssl_certfile": str(files.certificate),
            "ssl_keyfile": str(files.key),
        }

    def admit_users(self, *, servers: str, certificate_servers: str) -> None:
        """Tells the cluster the passwords and rights, and the users how to connect.

        Args:
            servers: addresses of the listeners that want a login.
            certificate_servers: of those that want a certificate.

        Raises:
            BrokerError: the cluster refused.
        """
        try:
            with KafkaAdminClient(bootstrap_servers=certificate_servers, **self.admin_connection()) as admin:
                problems = list(self._tell_passwords(admin)) + admin.create_acls(list(worker_rules()))["failed"]
        except KafkaError as error:
            raise BrokerError(f"the users cannot be admitted: {error}") from error
        if problems:
            raise BrokerError(f"the users cannot be admitted: {problems[0]}")
        for user, password in self._passwords.items():
            files, authority = self.files(user), self.certificate_of_authority
            texts = {
                files.environment: render_environment(user, files, servers=servers, authority=authority),
                files.properties: render_properties(user, password, servers=servers, authority=authority),
            }
            for path, text in texts.items():
                write_file(path, text.encode(), mode=PRIVATE)

    def _tell_passwords(self, admin: KafkaAdminClient) -> Iterator[str]:
        """Yields what the cluster objects to."""
        # One after the other: in one request the cluster takes each user only once.
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            wanted = [UserScramCredentialUpsertion(user, mechanism, word) for user, word in self._passwords.items()]
            yield from filter(None, admin.alter_user_scram_credentials(wanted).values())

    def _write_user(self, user: str) -> str:
        files, issued = self.files(user), self.authority.issue(user)
        write_file(files.certificate, issued.certificate)
        write_file(files.key, issued.key, mode=PRIVATE)
        write_file(files.token, self.tokens.issue(user).encode(), mode=PRIVATE)
        if not files.password.exists():
            write_file(files.password, secrets.token_urlsafe(PASSWORD_BYTES).encode(), mode=PRIVATE)
        return files.password.read_text()

    def _listeners(self, own: Endpoints) -> Mapping[str, str]:
        addresses = f"SASL_SSL://{LOOPBACK}:{own.broker},SSL://{LOOPBACK}:{own.certificates}"
        return {
            "listeners": f"{addresses},CONTROLLER://{LOOPBACK}:{own.controller}",
            "advertised.listeners": addresses,
            "listener.security.protocol.map": "SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:SSL",
            "inter.broker.listener.name": "SSL",
            "listener.name.ssl.ssl.client.auth": "required",
            "listener.name.controller.ssl.client.auth": "required",
        }

    def _logins(self, keys: Path) -> Mapping[str, str]:
        users = " ".join(f'user_{user}="{password}"' for user, password in self._passwords.items())
        modules = {
            "scram-sha-256": "scram.ScramLoginModule required",
            "scram-sha-512": "scram.ScramLoginModule required",
            "plain": f"plain.PlainLoginModule required {users}",
            "oauthbearer": "oauthbearer.OAuthBearerLoginModule required",
        }
        prefix = "listener.name.sasl_ssl"
        return {
            "sasl.enabled.mechanisms": ",".join(MECHANISMS),
            **{f"{prefix}.{name}.sasl.jaas.config": f"{_MODULES}.{module};" for name, module in modules.items()},
            f"{prefix}.oauthbearer.sasl.server.callback.handler.class": _VALIDATOR,
            "sasl.oauthbearer.jwks.endpoint.url": keys.as_uri(),
            "sasl.oauthbearer.expected.audience": AUDIENCE,
        }
