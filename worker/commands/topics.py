"""``python -m worker topics {check,create}``: whether the worker's topics can serve it, and those that are missing."""

import argparse
from contextlib import closing

from worker.commands import _types as types
from worker.settings import Settings
from worker.topics.checks import check_cluster
from worker.topics.facts import Absence, ClusterFacts, Identities
from worker.topics.findings import Finding
from worker.topics.plan import NewTopic, plan_topics, roles
from worker.topics.tools import KafkaTools
from worker.transport.kafka_python.admin import KafkaAdmin
from worker.transport.kafka_python.client import principal
from worker.transport.kafka_python.properties import client_properties

INDENT = " " * 9
"""Puts a command under its finding; a shell does not mind."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `check` and `create`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser(
        "check",
        help="tell whether a worker could start, and what would go wrong later",
        description="Looks at the topics and permissions of the settings, prints a line for each finding and the "
        "command that mends it, and exits with 0 only if a worker could start.",
    )
    create = actions.add_parser(
        "create",
        help="create the topics that are missing",
        description="Creates the topics that are missing and prints the commands that do the same. Topics that exist "
        "stay as they are.",
    )
    create.add_argument(
        "--partitions",
        type=types.count,
        metavar="N",
        help="of each topic but the statuses; default: as the input, or 4",
    )
    create.add_argument(
        "--replication-factor", type=types.count, metavar="R", help="default: 3, or as many as there are brokers"
    )
    create.add_argument("--dry-run", action="store_true", help="print what would be done, and do nothing")


def run(arguments: argparse.Namespace) -> int:
    """Checks, or creates."""
    settings = Settings.from_environment()
    client = client_properties(settings)
    with closing(KafkaAdmin(client)) as admin:
        cluster = ClusterFacts(admin.count_brokers(), admin.describe_topics(roles(settings)))
        if arguments.action == "check":
            return _check(settings, cluster, _ask_identities(admin, settings, principal(client)))
        for name, state in cluster.topics.items():
            if state is Absence.HIDDEN:
                print(f"{'hidden':<8} {name}: {principal(client)} may not see it")
            elif state is not Absence.MISSING:
                print(f"{'exists':<8} {name}: stays as it is")
        topics = plan_topics(
            settings, cluster, partitions=arguments.partitions, replication_factor=arguments.replication_factor
        )
        _create(admin, KafkaTools(settings), topics, dry_run=arguments.dry_run)
    return 0


def _ask_identities(admin: KafkaAdmin, settings: Settings, user: str) -> Identities:
    # Whatever the rest of the id will be: rules are made for the group's prefix.
    transactional_id = f"{settings.group_id}.{settings.instance_id or 'any'}.0"
    return Identities(
        user,
        group=admin.group_access(settings.group_id, user),
        transactions=admin.transactional_access(transactional_id, user),
    )


def _check(settings: Settings, cluster: ClusterFacts, identities: Identities) -> int:
    findings = list(check_cluster(settings, cluster, identities))
    for finding in findings:
        print(_line(finding))
        if finding.command:
            print(f"{INDENT}{finding.command}")
    return int(any(finding.level == "error" for finding in findings))


def _line(finding: Finding) -> str:
    return f"{finding.level:<8} {finding.subject}: {finding.message}"


def _create(admin: KafkaAdmin, tools: KafkaTools, topics: list[NewTopic], *, dry_run: bool) -> None:
    for topic in topics:
        if dry_run:
            print(f"{'missing':<8} {topic.name}")
        elif admin.create(topic):
            print(f"{'created':<8} {topic.name}")
        else:
            print(f"{'exists':<8} {topic.name}: somebody else was faster, it stays as it is")
        print(f"{INDENT}{tools.create_topic(topic)}")
