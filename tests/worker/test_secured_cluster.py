"""Both clients at a real broker that demands a login over TLS and grants rights by ACLs."""

import gc
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)

from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.errors import KafkaUnavailableError
from deploy.local.kafka.secured.authority import Authority
from deploy.local.kafka.secured.security import Security
from deploy.local.kafka.secured.tokens import TokenIssuer
from deploy.local.kafka.secured.users import GUEST, WORKER
from worker.errors import AccessDeniedError
from worker.ports import Output
from worker.settings import Settings, variable
from worker.stream.ownership import Ownership
from worker.transport.connections import Connections
from worker.transport.deadline import Deadline
from worker.transport.kafka_python import client as kafka_python
from worker.transport.librdkafka import client as librdkafka

pytestmark = [
    pytest.mark.kafka,
    # kafka-python leaves the socket of a failed handshake to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
]

CLIENTS = ["kafka-python", "librdkafka"]
TOPICS = (
    "limelight.events",
    "limelight.predictions",
    "limelight.events.dlq",
    "limelight.status",
    "limelight.shadow",
)
PATIENCE_SECONDS = 30


class Place:
    """A secured broker with the worker's topics, and the settings of its users."""

    def __init__(self, cluster: Cluster, security: Security) -> None:
        self.cluster, self.security = cluster, security
        self.admin_connection = {"bootstrap_servers": cluster.certificate_servers, **security.admin_connection()}

    def settings(self, login: str, transport: str, *, user: str = WORKER, **changes: Any) -> dict[str, Any]:
        files = self.security.files(user)
        shared = {"transport": transport, "ssl_ca_file": self.security.certificate_of_authority}
        if login == "certificate":
            certificate = {"ssl_certificate_file": files.certificate, "ssl_key_file": files.key}
            return {
                "bootstrap_servers": self.cluster.certificate_servers,
                "security_protocol": "SSL",
                **shared,
                **certificate,
                **changes,
            }
        credentials: dict[str, Any] = {"sasl_username": user, "sasl_password_file": files.password}
        if login == "OAUTHBEARER":
            credentials = {"sasl_token_file": files.token}
        sasl = {"security_protocol": "SASL_SSL", "sasl_mechanism": login, **credentials}
        return {"bootstrap_servers": self.cluster.bootstrap_servers, **shared, **sasl, **changes}

    def create_topics(self, *topics: str) -> None:
        with KafkaAdminClient(**self.admin_connection) as admin:
            admin.create_topics({topic: {"num_partitions": 1} for topic in topics}, wait_for_metadata=True)

    def produce(self, topic: str, value: bytes) -> None:
        with closing(KafkaProducer(**self.admin_connection)) as producer:
            producer.send(topic, value).get(timeout=PATIENCE_SECONDS)

    def last_committed(self, topic: str) -> bytes:
        """Value of the last record that readers of committed records see."""
        partition = TopicPartition(topic, 0)
        with closing(KafkaConsumer(**self.admin_connection, isolation_level="read_committed")) as consumer:
            consumer.assign([partition])
            consumer.seek_to_beginning(partition)
            deadline, found = Deadline(PATIENCE_SECONDS), []
            while consumer.position(partition) < consumer.end_offsets([partition])[partition]:
                assert deadline.remaining_seconds()
                found += [record.value for records in consumer.poll(timeout_ms=200).values() for record in records]
        value: bytes = found[-1]
        return value


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    security = Security(tmp_path_factory.mktemp("secured"))
    try:
        cluster = Cluster.start(security=security)
    except KafkaUnavailableError as error:
        pytest.skip(str(error))
    with cluster:
        place = Place(cluster, security)
        place.create_topics(*TOPICS)
        yield place


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (kafka_python, librdkafka):
        monkeypatch.setattr(module, "BOOTSTRAP_SECONDS", 1)
    yield
    gc.collect()


@pytest.mark.parametrize("transport", CLIENTS)
@pytest.mark.parametrize("login", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER", "certificate"])
def test_every_login_reads_and_commits(place: Place, transport: str, login: str) -> None:
    value = f"{transport} {login}".encode()
    place.produce("limelight.events", value)
    connections, ownership = Connections(Settings(**place.settings(login, transport))), Ownership()

    with closing(connections.open_source(instance="one", ownership=ownership)) as source:
        sink = connections.open_sink(transactional_id="limelight.one.0", source=source)
        with closing(sink):
            deadline, records = Deadline(PATIENCE_SECONDS), []
            while not records:
                assert deadline.remaining_seconds(), "nothing came"
                records += source.poll(max_records=10, timeout_seconds=0.2)
            output = Output("limelight.predictions", 0, None, records[-1].value, [], records[-1].timestamp_ms)
            sink.deliver([output], {records[-1].home: records[-1].offset + 1})

    assert place.last_committed("limelight.predictions") == value


@pytest.mark.parametrize("topic", TOPICS[1:])
def test_the_worker_may_write_what_it_writes_by_default(place: Place, topic: str) -> None:
    with closing(Connections(Settings(**place.settings("SCRAM-SHA-512", "kafka-python"))).open_feed()) as feed:
        feed.require(topic)
        feed.send(topic, topic.encode())
        feed.flush(timeout_seconds=PATIENCE_SECONDS)

    assert place.last_committed(topic) == topic.encode()


def refusal(settings: dict[str, Any]) -> str:
    with pytest.raises(AccessDeniedError) as caught:
        Connections(Settings(**settings)).open_feed()
    assert not caught.value.retriable
    return str(caught.value)


@pytest.mark.parametrize("transport", CLIENTS)
def test_a_wrong_password_names_the_user(place: Place, short_wait: None, tmp_path: Path, transport: str) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("guess-3f1c")

    for login in ("SCRAM-SHA-512", "PLAIN"):
        said = refusal(place.settings(login, transport, sasl_password_file=wrong))
        assert f"refuses the login of User:{WORKER}" in said
        assert "LIMELIGHT_SASL_PASSWORD" in said
        assert "guess-3f1c" not in said


@pytest.mark.parametrize("transport", CLIENTS)
def test_a_certificate_that_is_not_taken_is_named(
    place: Place, short_wait: None, tmp_path: Path, transport: str
) -> None:
    expired = place.security.authority.issue(WORKER, valid=timedelta(days=-1))
    foreign = Authority.load_or_create(tmp_path / "ca.pem", tmp_path / "ca.key").issue(WORKER)
    for issued, named in ((expired, "it expired at"), (foreign, f"User:CN={WORKER}, signed by")):
        certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
        certificate.write_bytes(issued.certificate)
        key.write_bytes(issued.key)

        settings = place.settings("certificate", transport, ssl_certificate_file=certificate, ssl_key_file=key)
        said = refusal(settings)

        assert "does not take our certificate" in said
        assert named in said

    none = place.settings("certificate", transport, ssl_certificate_file=None, ssl_key_file=None)
    assert "wants a certificate" in refusal(none)


@pytest.mark.parametrize("transport", CLIENTS)
def test_a_broker_under_another_name_or_authority_is_not_believed(
    place: Place, short_wait: None, tmp_path: Path, transport: str
) -> None:
    port = place.cluster.bootstrap_servers.rpartition(":")[2]
    other_name = place.settings("SCRAM-SHA-512", transport, bootstrap_servers=f"localhost:{port}")
    assert "certificate is not valid for 'localhost'" in refusal(other_name)

    Authority.load_or_create(tmp_path / "ca.pem", tmp_path / "ca.key")
    foreign = place.settings("SCRAM-SHA-512", transport, ssl_ca_file=tmp_path / "ca.pem")
    assert "cannot be verified" in refusal(foreign)


@pytest.mark.parametrize("transport", CLIENTS)
def test_a_token_that_is_not_taken_is_named(place: Place, short_wait: None, tmp_path: Path, transport: str) -> None:
    token = tmp_path / "token"
    settings = place.settings("OAUTHBEARER", transport, sasl_token_file=token)

    token.write_text(TokenIssuer.load_or_create(tmp_path / "tokens.key").issue(WORKER))
    said = refusal(settings)
    assert "refuses the login" in said
    assert token.read_text() not in said

    token.write_text(place.security.tokens.issue(WORKER, valid_seconds=-60))
    assert "expired" in refusal(settings)
    token.unlink()
    with pytest.raises(AccessDeniedError, match="cannot be read"):
        Connections(Settings.model_construct(**(Settings().model_dump() | settings))).open_feed()


class Names:
    """Topics and a group that only one test uses."""

    def __init__(self) -> None:
        self.group = f"denied-{uuid.uuid4().hex[:8]}"
        self.topics = {
            role: f"{self.group}.{role}"
            for role in ("input_topic", "output_topic", "dead_letter_topic", "status_topic")
        }

    def rights(self) -> dict[str, tuple[ResourceType, str, ACLOperation]]:
        writes = ("output_topic", "dead_letter_topic", "status_topic")
        return {
            "input_topic": (ResourceType.TOPIC, self.topics["input_topic"], ACLOperation.READ),
            **{role: (ResourceType.TOPIC, self.topics[role], ACLOperation.WRITE) for role in writes},
            "group": (ResourceType.GROUP, self.group, ACLOperation.READ),
            "transactional_id": (ResourceType.TRANSACTIONAL_ID, f"{self.group}.one.0", ACLOperation.WRITE),
        }


@pytest.mark.parametrize("transport", CLIENTS)
@pytest.mark.parametrize(
    "case",
    [
        ("input_topic", None, "may not READ topic '{input_topic}'"),
        ("input_topic", ACLOperation.DESCRIBE, "may not READ topic '{input_topic}'"),
        ("output_topic", None, "may not WRITE topic '{output_topic}'"),
        ("output_topic", ACLOperation.DESCRIBE, "may not WRITE topic '{output_topic}'"),
        ("group", None, "may not READ group '{group}'"),
        ("transactional_id", None, "may not WRITE transactional id '{group}.one.0'"),
    ],
)
def test_a_missing_rule_ends_the_worker_and_is_named(
    place: Place, tiny_bundle_path: Path, transport: str, case: tuple[str, ACLOperation | None, str]
) -> None:
    missing, extra, named = case
    names = Names()
    place.create_topics(*names.topics.values())
    rights = names.rights()
    granted = [right for name, right in rights.items() if name != missing]
    if extra is not None:
        granted.append((*rights[missing][:2], extra))
    with KafkaAdminClient(**place.admin_connection) as admin:
        outcome = admin.create_acls([_allow(*right) for right in granted])
    assert outcome["failed"] == []
    place.produce(names.topics["input_topic"], b'{"text": "the box is late"}')
    settings = {
        **place.settings("SCRAM-SHA-512", transport, user=GUEST, bundle=tiny_bundle_path),
        **names.topics,
        "group_id": names.group,
        "instance_id": "one",
    }

    run = run_worker(settings)

    assert run.returncode == 1
    [*_, error] = run.stderr.splitlines()
    assert f"error: User:{GUEST} {named.format(group=names.group, **names.topics)}" in error, run.stderr


@pytest.mark.parametrize("transport", CLIENTS)
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_right_that_is_revoked_while_we_run_is_named(place: Place, transport: str, delivery: str) -> None:
    names = Names()
    place.create_topics(*names.topics.values())
    rights = names.rights()
    with KafkaAdminClient(**place.admin_connection) as admin:
        assert admin.create_acls([_allow(*right) for right in rights.values()])["failed"] == []
    settings = place.settings("SCRAM-SHA-512", transport, user=GUEST, delivery=delivery, **names.topics)
    connections, home = Connections(Settings(group_id=names.group, **settings)), (names.topics["input_topic"], 0)
    output = Output(names.topics["output_topic"], 0, None, b"x", [], 1)

    with closing(connections.open_source(instance="one", ownership=Ownership())) as source:
        deadline = Deadline(PATIENCE_SECONDS)
        while not source.assignment():
            assert deadline.remaining_seconds(), "it did not join"
            source.poll(max_records=1, timeout_seconds=0.2)
        with closing(connections.open_sink(transactional_id=f"{names.group}.one.0", source=source)) as sink:
            sink.deliver([output], {home: 0})
            with KafkaAdminClient(**place.admin_connection) as admin:
                admin.delete_acls([_filter(*rights["output_topic"])])

            def deliver_until_refused() -> None:
                while deadline.remaining_seconds():  # the broker may learn of it a little later
                    sink.deliver([output], {home: 0})

            with pytest.raises(AccessDeniedError, match=f"User:{GUEST} may not WRITE topic '{output.topic}'"):
                deliver_until_refused()


def _filter(kind: ResourceType, name: str, operation: ACLOperation) -> ACLFilter:
    pattern = ResourcePattern(kind, name, ACLResourcePatternType.LITERAL)
    return ACLFilter(f"User:{GUEST}", "*", operation, ACLPermissionType.ALLOW, pattern)


def _allow(kind: ResourceType, name: str, operation: ACLOperation) -> ACL:
    pattern = ResourcePattern(kind, name, ACLResourcePatternType.LITERAL)
    return ACL(f"User:{GUEST}", "*", operation, ACLPermissionType.ALLOW, pattern)


def run_worker(settings: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LIMELIGHT_")}
    environment |= {variable(name): str(value) for name, value in settings.items() if value is not None}
    command = [sys.executable, "-m", "worker", "run"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
