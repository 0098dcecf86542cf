"""`topics check` and `topics create` on real brokers, one of which asks who may do what."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType

from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.errors import KafkaUnavailableError
from deploy.local.kafka.topics import create_topics
from worker.__main__ import main
from worker.settings import Settings
from worker.topics.facts import Access, TopicFacts
from worker.transport.deadline import Deadline
from worker.transport.kafka_python.admin import KafkaAdmin
from worker.transport.kafka_python.properties import client_properties

pytestmark = pytest.mark.kafka

ANYBODY = "User:ANONYMOUS"
ROLES = ("INPUT", "OUTPUT", "DEAD_LETTER", "STATUS")


class Place:
    """Names of topics and a group that nobody else uses, in the environment."""

    def __init__(self, servers: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.servers = servers
        self.group = f"topics-{uuid.uuid4().hex[:8]}"
        self.topics = {role: f"{self.group}.{role.lower()}" for role in ROLES}
        self._capsys = capsys
        monkeypatch.setenv("LIMELIGHT_BOOTSTRAP_SERVERS", servers)
        monkeypatch.setenv("LIMELIGHT_GROUP_ID", self.group)
        for role, topic in self.topics.items():
            monkeypatch.setenv(f"LIMELIGHT_{role}_TOPIC", topic)

    def run(self, *arguments: str) -> tuple[int, list[str]]:
        """Exit status and what was printed."""
        status = main(["topics", *arguments])
        printed = self._capsys.readouterr()
        return status, [*printed.out.splitlines(), *printed.err.splitlines()]

    def levels(self) -> dict[str, str]:
        """Subject -> the worst level that was found."""
        worst: dict[str, str] = {}
        for line in self.run("check")[1]:
            level, _, rest = line.partition(" ")
            if level and (subject := rest.strip().split(": ")[0]) and worst.get(subject) in (None, "found"):
                worst[subject] = level
        return worst

    def describe(self, role: str) -> TopicFacts:
        with closing(KafkaAdmin(client_properties(Settings()))) as admin:
            facts = admin.describe_topics([self.topics[role]])[self.topics[role]]
        assert isinstance(facts, TopicFacts)
        return facts


@pytest.fixture
def place(broker: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(broker, monkeypatch, capsys)


def test_create_makes_what_check_demands(place: Place) -> None:
    status, lines = place.run("check")
    assert status == 1
    wanted = [line.strip() for line in lines if "kafka-topics.sh" in line]
    assert len(wanted) == len(ROLES)

    status, lines = place.run("create")
    assert status == 0
    assert [line.strip() for line in lines if "kafka-topics.sh" in line] == wanted
    assert [line for line in lines if line.startswith("created")] == [
        f"created  {topic}" for topic in place.topics.values()
    ]

    status, lines = place.run("check")
    assert status == 0
    assert {line.split()[0] for line in lines} == {"ok"}
    assert place.describe("STATUS").configs is not None
    assert place.describe("STATUS").partitions == 1


def test_a_dry_run_creates_nothing(place: Place) -> None:
    status, lines = place.run("create", "--dry-run", "--partitions", "2")
    assert status == 0
    assert lines[0] == f"missing  {place.topics['INPUT']}"
    assert "--partitions 2" in lines[1]
    assert place.run("check")[0] == 1


def test_what_exists_is_never_altered(place: Place) -> None:
    create_topics(place.servers, {place.topics["INPUT"]: 3, place.topics["OUTPUT"]: 1})
    before = place.describe("OUTPUT")

    status, lines = place.run("create", "--partitions", "5")

    assert status == 0
    assert lines[:2] == [f"exists   {place.topics[role]}: stays as it is" for role in ("INPUT", "OUTPUT")]
    assert place.describe("OUTPUT") == before
    assert place.describe("DEAD_LETTER").partitions == 5
    assert place.levels()[place.topics["OUTPUT"]] == "warning"


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (["--replication-factor", "2"], "Unable to replicate the partition 2 time(s): "),
        (["--partitions", "100000"], "Excessively large number of partitions per request."),
    ],
)
def test_an_order_that_the_cluster_refuses_is_one_line_in_its_own_words(
    place: Place, order: list[str], reason: str
) -> None:
    status, lines = place.run("create", *order)
    assert status == 1
    assert lines[-1].startswith(f"error: topic '{place.topics['INPUT']}' cannot be created: {reason}")
    assert "Request" not in lines[-1]


def test_nobody_there_is_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.transport.kafka_python.client.BOOTSTRAP_SECONDS", 0.3)
    monkeypatch.setenv("LIMELIGHT_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    status, lines = place.run("check")
    assert status == 1
    assert len(lines) == 1
    assert lines[0].startswith("error: no Kafka broker answered at 127.0.0.1:1")


@pytest.fixture(scope="module")
def guarded_broker() -> Iterator[str]:
    """A broker that looks rules up; where there is none, everybody may do everything."""
    try:
        cluster = Cluster.start(
            properties={
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "allow.everyone.if.no.acl.found": "true",
            }
        )
    except KafkaUnavailableError as error:
        pytest.skip(str(error))
    with cluster:
        yield cluster.bootstrap_servers


Rule = Callable[..., None]


@pytest.fixture
def rule(guarded_broker: str) -> Iterator[Rule]:
    """Adds a rule and waits until the broker follows it; all are gone with the test."""
    made: list[ACL] = []
    with KafkaAdminClient(bootstrap_servers=guarded_broker) as admin:

        def add(permission: str, operation: str, kind: str, name: str, *, prefix: bool = False) -> None:
            pattern = ACLResourcePatternType.PREFIXED if prefix else ACLResourcePatternType.LITERAL
            resource = ResourcePattern(ResourceType[kind], name, pattern)
            made.append(ACL(ANYBODY, "*", ACLOperation[operation], ACLPermissionType[permission], resource))
            admin.create_acls(made[-1:])

        yield add
        admin.delete_acls(made)


@pytest.fixture
def guarded(guarded_broker: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Place:
    place = Place(guarded_broker, monkeypatch, capsys)
    assert place.run("create")[0] == 0
    return place


def await_levels(place: Place, **expected: str) -> None:
    """Rules reach the broker's eyes a moment after they were accepted."""
    wanted = {place.topics[role]: level for role, level in expected.items()}
    deadline = Deadline(10)
    while True:
        levels = place.levels()
        if all(levels[subject] == level for subject, level in wanted.items()):
            return
        assert deadline.remaining_seconds() > 0, levels


def test_what_a_user_may_not_do_is_found(guarded: Place, rule: Rule) -> None:
    rule("ALLOW", "DESCRIBE", "TOPIC", guarded.topics["OUTPUT"])
    rule("DENY", "DESCRIBE", "TOPIC", guarded.topics["DEAD_LETTER"])
    rule("DENY", "DESCRIBE_CONFIGS", "TOPIC", guarded.topics["STATUS"])
    rule("ALLOW", "WRITE", "TOPIC", guarded.topics["STATUS"])

    await_levels(guarded, INPUT="ok", OUTPUT="error", DEAD_LETTER="error", STATUS="unknown")

    status, lines = guarded.run("check")
    assert status == 1
    text = "\n".join(lines)
    assert f"{ANYBODY} may not WRITE" in text
    assert f"--operation Write --topic {guarded.topics['OUTPUT']}" in text
    assert f"{guarded.topics['DEAD_LETTER']}: dead letters, if it exists: {ANYBODY} may not see it" in text
    assert f"hidden   {guarded.topics['DEAD_LETTER']}: {ANYBODY} may not see it" in guarded.run("create")[1]


@pytest.mark.parametrize(
    ("rules", "group", "transactions"),
    [
        ([], Access.UNKNOWN, Access.UNKNOWN),
        ([("ALLOW", "READ"), ("ALLOW", "WRITE")], Access.ALLOWED, Access.ALLOWED),
        ([("ALLOW", "ALL")], Access.ALLOWED, Access.ALLOWED),
        ([("ALLOW", "DESCRIBE")], Access.UNKNOWN, Access.UNKNOWN),
        ([("ALLOW", "DESCRIBE"), ("DENY", "READ"), ("DENY", "WRITE")], Access.DENIED, Access.DENIED),
        ([("DENY", "DESCRIBE")], Access.DENIED, Access.DENIED),
    ],
)
def test_group_and_transactional_ids_are_judged_by_the_rules(
    guarded: Place, rule: Rule, rules: list[tuple[str, str]], group: Access, transactions: Access
) -> None:
    operations: dict[str, Any] = {
        "GROUP": {"READ", "ALL", "DESCRIBE"},
        "TRANSACTIONAL_ID": {"WRITE", "ALL", "DESCRIBE"},
    }
    for kind, sensible in operations.items():
        for permission, operation in rules:
            if operation in sensible:
                rule(permission, operation, kind, guarded.group, prefix=True)

    deadline = Deadline(10)
    with closing(KafkaAdmin(client_properties(Settings()))) as admin:
        while True:
            answers = (
                admin.group_access(guarded.group, ANYBODY),
                admin.transactional_access(f"{guarded.group}.any.0", ANYBODY),
            )
            if answers == (group, transactions):
                break
            assert deadline.remaining_seconds() > 0, answers


def test_who_may_not_see_the_rules_is_told_so(guarded: Place, rule: Rule) -> None:
    # The broker itself, and the removal of these rules, need the first two.
    rule("ALLOW", "CLUSTER_ACTION", "CLUSTER", "kafka-cluster")
    rule("ALLOW", "ALTER", "CLUSTER", "kafka-cluster")
    rule("ALLOW", "WRITE", "TRANSACTIONAL_ID", guarded.group, prefix=True)
    rule("DENY", "DESCRIBE", "CLUSTER", "kafka-cluster")

    deadline = Deadline(10)
    while (level := guarded.levels()[f"transactional ids {guarded.group}.*"]) != "unknown":
        assert deadline.remaining_seconds() > 0, level
    status, lines = guarded.run("check")
    assert status == 0
    assert "it may not describe ACLs, or none speaks of it" in lines[-1]
