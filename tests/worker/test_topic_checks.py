"""What is found about topics, and what would mend it; no cluster is asked."""

import shlex
from typing import Any

import pytest
from pydantic import SecretStr

from worker.errors import ValidationError
from worker.messages import DeadLetter, Position
from worker.ports import Output, Record
from worker.settings import Settings
from worker.stream.outputs import encoded_bytes, point_to
from worker.topics.checks import POINTER_BYTES, check_cluster
from worker.topics.facts import Absence, Access, ClusterFacts, Identities, TopicFacts
from worker.topics.findings import Finding
from worker.topics.plan import ANSWER_HEADROOM_BYTES, EVENT_BYTES, plan_topics

pytestmark = pytest.mark.fast

INPUT, OUTPUT, LETTERS, STATUS = "limelight.events", "limelight.predictions", "limelight.events.dlq", "limelight.status"
EVERYTHING = frozenset({"READ", "WRITE", "DESCRIBE"})
CONFIGS = {
    "max.message.bytes": str(EVENT_BYTES + ANSWER_HEADROOM_BYTES),
    "min.insync.replicas": "2",
    "cleanup.policy": "delete",
}
FACTS = TopicFacts(4, 3, 3, 0, CONFIGS, EVERYTHING)
GOOD = {
    INPUT: FACTS._replace(configs={**CONFIGS, "max.message.bytes": str(EVENT_BYTES)}),
    OUTPUT: FACTS,
    LETTERS: FACTS,
    STATUS: FACTS._replace(partitions=1, configs={**CONFIGS, "cleanup.policy": "compact"}),
}
ALLOWED = Identities("User:ANONYMOUS", Access.ALLOWED, Access.ALLOWED)


def look(
    changes: dict[str, Any] | None = None, *, brokers: int = 3, identities: Identities = ALLOWED, **settings: Any
) -> list[Finding]:
    cluster = ClusterFacts(brokers, {**GOOD, **(changes or {})})
    return list(check_cluster(Settings(**settings), cluster, identities))


def problems(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level not in ("ok", "found")]


def change(topic: str, **configs: str) -> dict[str, TopicFacts]:
    facts = GOOD[topic]
    assert facts.configs is not None
    return {topic: facts._replace(configs={**facts.configs, **{k.replace("_", "."): v for k, v in configs.items()}})}


def test_all_is_well() -> None:
    findings = look()
    assert [(finding.level, finding.subject) for finding in findings] == [
        ("ok", INPUT),
        ("ok", OUTPUT),
        ("ok", LETTERS),
        ("ok", STATUS),
        ("ok", "group limelight"),
        ("ok", "transactional ids limelight.*"),
    ]
    assert findings[0].message == "input, partitions: 4, replication factor: 3, records up to 1048588 bytes"


def test_without_a_status_topic_none_is_looked_at() -> None:
    assert STATUS not in [finding.subject for finding in look(status_topic="")]


def test_a_missing_topic_is_an_error_with_the_command_that_creates_it() -> None:
    [finding] = problems(look({LETTERS: Absence.MISSING}))
    assert (finding.level, finding.subject) == ("error", LETTERS)
    assert finding.command == (
        f"kafka-topics.sh --bootstrap-server 127.0.0.1:9092 --create --topic {LETTERS} --partitions 4 "
        "--replication-factor 3 --config cleanup.policy=delete --config max.message.bytes=1114124 "
        "--config min.insync.replicas=2"
    )


def test_a_hidden_topic_is_an_error_with_the_rule_that_shows_it() -> None:
    [finding] = problems(look({INPUT: Absence.HIDDEN}))
    assert finding.level == "error"
    assert finding.command == (
        f"kafka-acls.sh --bootstrap-server 127.0.0.1:9092 --add --allow-principal User:ANONYMOUS --operation Read "
        f"--topic {INPUT}"
    )


@pytest.mark.parametrize("topic", [OUTPUT, LETTERS])
def test_fewer_partitions_than_the_input_are_explained(topic: str) -> None:
    findings = look({topic: FACTS._replace(partitions=3)})
    [finding] = problems(findings)
    assert finding.level == "warning"
    assert "p mod 3" in finding.message
    assert finding.command is not None
    assert finding.command.endswith(f"--alter --topic {topic} --partitions 4")
    assert [each.level for each in findings if each.subject == topic] == ["found", "warning"]


def test_more_partitions_than_the_input_do_no_harm() -> None:
    assert problems(look({OUTPUT: FACTS._replace(partitions=9)})) == []


@pytest.mark.parametrize("topic", [OUTPUT, LETTERS])
def test_a_limit_below_the_inputs_and_64_kib_is_a_warning(topic: str) -> None:
    assert problems(look(change(topic, max_message_bytes=str(EVENT_BYTES + 65_536)))) == []
    [finding] = problems(look(change(topic, max_message_bytes=str(EVENT_BYTES + 65_535))))
    assert finding.level == "warning"
    assert finding.command is not None
    assert finding.command.endswith(f"--entity-name {topic} --add-config max.message.bytes=1114124")


def test_the_wanted_limit_follows_the_inputs() -> None:
    found = problems(look(change(INPUT, max_message_bytes="5000000")))
    assert [finding.subject for finding in found] == [OUTPUT, LETTERS]
    assert all(finding.command and finding.command.endswith("max.message.bytes=5065536") for finding in found)


def test_dead_letters_that_cannot_even_be_pointers_are_an_error() -> None:
    [finding] = problems(look(change(LETTERS, max_message_bytes="4095")))
    assert (finding.level, finding.subject) == ("error", LETTERS)
    assert finding.command is not None
    assert finding.command.endswith("max.message.bytes=1114124")
    hidden = {INPUT: GOOD[INPUT]._replace(configs=None), **change(LETTERS, max_message_bytes="4095")}
    assert [(finding.level, finding.subject) for finding in problems(look(hidden))] == [
        ("unknown", INPUT),
        ("error", LETTERS),
    ]


def test_the_largest_pointer_fits_into_what_is_demanded_for_it() -> None:
    source = Position("t" * 249, 2**31 - 1, 2**63 - 1)
    reason = DeadLetter.of(source, ValidationError("\U0001f600" * 1000), "g" * 249, attempts=10**9).to_headers()
    pointer = point_to(Record("t", 0, 0, 0, None, b"x" * (1 << 20), []))
    assert encoded_bytes(Output("dlq", 0, None, None, [*reason, *pointer], 0)) <= POINTER_BYTES


def test_without_sight_of_the_inputs_limit_no_limit_is_judged() -> None:
    found = problems(look({INPUT: GOOD[INPUT]._replace(configs=None), **change(OUTPUT, max_message_bytes="1")}))
    assert [(finding.level, finding.subject) for finding in found] == [("unknown", INPUT)]


@pytest.mark.parametrize(
    ("topic", "policy", "mended", "level"),
    [
        (INPUT, "compact", "delete", "warning"),
        (OUTPUT, "compact,delete", "delete", "error"),
        (LETTERS, "compact", "delete", "error"),
        (STATUS, "delete", "compact", "warning"),
    ],
)
def test_only_statuses_are_compacted(topic: str, policy: str, mended: str, level: str) -> None:
    [finding] = problems(look(change(topic, cleanup_policy=policy)))
    assert (finding.level, finding.subject) == (level, topic)
    assert finding.command is not None
    assert finding.command.endswith(f"cleanup.policy={mended}")


def test_statuses_may_be_compacted_and_deleted() -> None:
    assert problems(look(change(STATUS, cleanup_policy="compact,delete"))) == []


def test_one_replica_is_a_warning_where_there_could_be_more() -> None:
    alone = {topic: facts._replace(replication_factor=1, in_sync_replicas=1) for topic, facts in GOOD.items()}
    alone = {
        topic: facts._replace(configs={**facts.configs, "min.insync.replicas": "1"}) for topic, facts in alone.items()
    }
    assert [finding.level for finding in problems(look(alone, brokers=3))] == ["warning"] * 4
    assert problems(look(alone, brokers=2)) == []


@pytest.mark.parametrize(
    ("needed", "replicas", "in_sync", "level", "mended"),
    [
        ("2", 3, 2, None, None),
        ("1", 3, 3, "warning", "min.insync.replicas=2"),
        ("2", 3, 1, "error", None),
        ("3", 2, 2, "error", "min.insync.replicas=1"),
        ("1", 2, 2, None, None),
    ],
)
def test_replicas_in_sync(needed: str, replicas: int, in_sync: int, level: str | None, mended: str | None) -> None:
    facts = FACTS._replace(
        replication_factor=replicas, in_sync_replicas=in_sync, configs={**CONFIGS, "min.insync.replicas": needed}
    )
    found = problems(look({OUTPUT: facts}))
    assert [finding.level for finding in found] == ([level] if level else [])
    if found:
        assert (found[0].command or "").endswith(mended or "")
        assert (found[0].command is None) == (mended is None)


def test_partitions_without_a_leader_are_an_error() -> None:
    [finding] = problems(look({INPUT: GOOD[INPUT]._replace(leaderless=2)}))
    assert (finding.level, finding.message[:30]) == ("error", "2 partitions have no leader: b")


@pytest.mark.parametrize(
    ("topic", "needed"), [(INPUT, "READ"), (OUTPUT, "WRITE"), (LETTERS, "WRITE"), (STATUS, "WRITE")]
)
def test_each_topic_needs_its_own_permission(topic: str, needed: str) -> None:
    [finding] = problems(look({topic: GOOD[topic]._replace(operations=EVERYTHING - {needed})}))
    assert finding.level == "error"
    assert f"may not {needed}" in finding.message
    assert finding.command is not None
    assert finding.command.endswith(f"--operation {needed.capitalize()} --topic {topic}")


def test_what_an_old_broker_does_not_tell_is_unknown() -> None:
    [finding] = problems(look({INPUT: GOOD[INPUT]._replace(operations=None)}))
    assert finding.level == "unknown"


@pytest.mark.parametrize(("access", "level"), [(Access.DENIED, "error"), (Access.UNKNOWN, "unknown")])
def test_identities_are_judged_and_doubt_is_said(access: Access, level: str) -> None:
    group, ids = problems(look(identities=Identities("User:ANONYMOUS", access, access)))
    assert group.level == ids.level == level
    if access is Access.DENIED:
        assert (group.command or "").endswith("--operation Read --group limelight")
        assert (ids.command or "").endswith("--transactional-id limelight. --resource-pattern-type prefixed")


def test_on_a_secured_cluster_the_commands_log_in_and_name_the_user() -> None:
    found = look(
        {INPUT: Absence.HIDDEN},
        identities=ALLOWED._replace(principal="User:o'neil"),
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username="o'neil",
        sasl_password=SecretStr("hidden"),
    )
    command = shlex.split(found[0].command or "")
    assert command[3:5] == ["--command-config", "client.properties"]
    assert "User:o'neil" in command
    assert "hidden" not in str(found)


def plan(**changes: Any) -> list[tuple[str, int, int]]:
    options = {name: changes.pop(name) for name in ("partitions", "replication_factor") if name in changes}
    brokers = changes.pop("brokers", 3)
    topics = {**dict.fromkeys(GOOD, Absence.MISSING), **changes.pop("topics", {})}
    planned = plan_topics(Settings(), ClusterFacts(brokers, topics), **options)
    return [(topic.name, topic.partitions, topic.replication_factor) for topic in planned]


def test_what_is_missing_is_planned_by_the_input_and_the_brokers() -> None:
    assert plan() == [(INPUT, 4, 3), (OUTPUT, 4, 3), (LETTERS, 4, 3), (STATUS, 1, 3)]
    assert plan(brokers=1) == [(INPUT, 4, 1), (OUTPUT, 4, 1), (LETTERS, 4, 1), (STATUS, 1, 1)]
    existing = GOOD[INPUT]._replace(partitions=7)
    assert plan(topics={INPUT: existing}) == [(OUTPUT, 7, 3), (LETTERS, 7, 3), (STATUS, 1, 3)]


def test_a_shadow_has_a_topic_where_there_is_a_registry() -> None:
    settings = Settings(registry="models", model_name="tiny")
    missing = dict.fromkeys([*GOOD, settings.shadow_topic], Absence.MISSING)

    [*_, planned] = plan_topics(settings, ClusterFacts(3, missing))

    assert planned[:3] == ("limelight.shadow", 4, 3)
    assert planned.configs["cleanup.policy"] == "delete"


ROUTED = {"routes": {"reviews": "bundles/reviews"}}


def test_a_routed_topic_is_an_input_as_the_other() -> None:
    reviews = GOOD[INPUT]._replace(operations=frozenset({"WRITE"}))
    [denied] = problems(look({"reviews": reviews}, **ROUTED))
    assert (denied.level, denied.subject) == ("error", "reviews")
    assert "may not READ" in denied.message

    [missing] = problems(look({"reviews": Absence.MISSING}, **ROUTED))
    assert (missing.subject, missing.message) == ("reviews", "input, does not exist")


def test_the_outputs_have_to_suit_the_largest_input() -> None:
    reviews = GOOD[INPUT]._replace(partitions=9, configs={**CONFIGS, "max.message.bytes": "5000000"})
    findings = problems(look({"reviews": reviews}, **ROUTED))

    assert {finding.subject for finding in findings} == {OUTPUT, LETTERS}
    assert sum(finding.message.startswith("4 partitions for 9 of the input") for finding in findings) == 2
    assert {command.split("max.message.bytes=")[1] for f in findings if "max.message" in (command := f.command)} == {
        str(5_000_000 + ANSWER_HEADROOM_BYTES)
    }


def test_a_routed_topic_is_planned_as_the_inputs_that_exist() -> None:
    missing = {**dict.fromkeys([*GOOD, "reviews"], Absence.MISSING), INPUT: GOOD[INPUT]._replace(partitions=7)}

    planned = plan_topics(Settings(**ROUTED), ClusterFacts(3, missing))

    assert [(topic.name, topic.partitions) for topic in planned] == [
        ("reviews", 7),
        (OUTPUT, 7),
        (LETTERS, 7),
        (STATUS, 1),
    ]


def test_options_win() -> None:
    existing = GOOD[INPUT]._replace(partitions=7)
    assert plan(topics={INPUT: existing}, partitions=2, replication_factor=1) == [
        (OUTPUT, 2, 1),
        (LETTERS, 2, 1),
        (STATUS, 1, 1),
    ]


def test_a_hidden_topic_is_not_planned_and_nothing_at_all_when_all_exist() -> None:
    assert plan(topics={INPUT: Absence.HIDDEN})[0][0] == OUTPUT
    assert plan(topics=GOOD) == []


def test_a_planned_cluster_passes_the_check() -> None:
    planned = plan_topics(Settings(), ClusterFacts(3, dict.fromkeys(GOOD, Absence.MISSING)))
    created = {
        topic.name: TopicFacts(topic.partitions, 3, 3, 0, {"max.message.bytes": "1048588", **topic.configs}, EVERYTHING)
        for topic in planned
    }
    assert problems(look(created)) == []
