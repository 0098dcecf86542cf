"""How the worker reaches its brokers, and who it is to them."""

from typing import Literal, Self

from pydantic import DirectoryPath, FilePath, SecretStr, model_validator
from pydantic_settings import BaseSettings

from worker.settings.config import CONFIG
from worker.settings.credentials import find_contradiction
from worker.settings.names import variable
from worker.settings.values import Properties, Servers


class BrokerSettings(BaseSettings):
    """Addresses, security and client library."""

    model_config = CONFIG

    bootstrap_servers: Servers = "127.0.0.1:9092"
    """Kafka brokers to ask first: host:port, several separated by commas."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to talk to the brokers. Over a network that others share, only the two with SSL keep records private."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    """How to log in; needed by the SASL protocols."""
    sasl_username: str | None = None
    """Who logs in; needed by the SASL protocols. With SASL_TOKEN_URL the client's id."""
    sasl_password: SecretStr | None = None
    """Password of the user; needed by the SASL protocols and never shown. With SASL_TOKEN_URL the client's secret."""
    sasl_password_file: FilePath | None = None
    """File with the same, in its place: an environment can be seen by whoever may look at the process."""
    sasl_token_file: FilePath | None = None
    """For OAUTHBEARER: file with the token, read again for each login, so that it can be replaced in time."""
    sasl_token_url: str | None = None
    """For OAUTHBEARER: where tokens are had for client id and secret (client credentials of RFC 6749), over https."""
    sasl_token_scope: str | None = None
    """What is asked for there."""
    ssl_ca_file: FilePath | None = None
    """Certificates (PEM) to trust in place of the system's; for the SSL protocols."""
    ssl_certificate_file: FilePath | None = None
    """Our own certificate (PEM, with those between it and the authority), for brokers that ask for one."""
    ssl_key_file: FilePath | None = None
    """Its private key (PEM)."""
    ssl_key_password: SecretStr | None = None
    """What the private key is encrypted with, if it is; never shown."""
    ssl_key_password_file: FilePath | None = None
    """File with the same, in its place."""
    secrets_dir: DirectoryPath | None = None
    """Directory with a file for each setting that is kept there, named like its variable, as orchestrators mount
    secrets. The environment wins."""
    transport: Literal["kafka-python", "librdkafka"] = "kafka-python"
    """Client library. librdkafka costs less CPU; install it with: pip install 'limelight[librdkafka]'. A running group
    can be moved from one to the other, worker by worker."""
    properties: Properties = {}
    """Any client property by its Kafka name, for values that suit your network: linger.ms=5,compression.type=zstd or
    JSON. What another setting governs, and what exactly once rests on, is refused."""

    @model_validator(mode="after")
    def _check_security(self) -> Self:
        if problem := find_contradiction(dict(self), variable):
            raise ValueError(problem)
        return self
