"""What stands in the files of a node."""

from pathlib import Path

import pytest

from deploy.local.kafka.configuration import Endpoints, render_properties
from deploy.local.kafka.errors import BrokerError
from deploy.local.kafka.secured.security import Security
from deploy.local.kafka.secured.users import render_properties as render_user_properties

pytestmark = pytest.mark.fast

ENDPOINTS = [Endpoints(19092, 19093), Endpoints(19094, 19095), Endpoints(19096, 19097)]


def parse(nodes: int, node_id: int = 1, overrides: dict[str, str] | None = None) -> dict[str, str]:
    text = render_properties(
        node_id=node_id, endpoints=ENDPOINTS[:nodes], data=Path("/data"), overrides=overrides or {}
    )
    return dict(line.split("=", 1) for line in text.splitlines())


def test_every_node_knows_its_own_ports_and_all_voters() -> None:
    properties = parse(nodes=3, node_id=2)
    assert properties["node.id"] == "2"
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:19094,CONTROLLER://127.0.0.1:19095"
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:19094"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:19093,2@127.0.0.1:19095,3@127.0.0.1:19097"
    assert properties["log.dirs"] == "/data"


@pytest.mark.parametrize(("nodes", "replicas", "in_sync"), [(1, "1", "1"), (2, "2", "1"), (3, "3", "2")])
def test_replication_follows_the_number_of_nodes(nodes: int, replicas: str, in_sync: str) -> None:
    properties = parse(nodes)
    assert properties["default.replication.factor"] == replicas
    assert properties["offsets.topic.replication.factor"] == replicas
    assert properties["transaction.state.log.replication.factor"] == replicas
    assert properties["min.insync.replicas"] == in_sync
    assert properties["transaction.state.log.min.isr"] == in_sync


def test_nothing_is_deleted_for_its_age() -> None:
    assert parse(nodes=1)["log.retention.ms"] == "-1"


def test_overrides_win_and_may_be_new() -> None:
    properties = parse(nodes=1, overrides={"auto.create.topics.enable": "true", "message.max.bytes": "7"})
    assert properties["auto.create.topics.enable"] == "true"
    assert properties["message.max.bytes"] == "7"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a b=c:d#e!", "a b=c:d#e!"),
        ("C:\\n", r"C:\u005cn"),
        ("ü", r"\u00fc"),
        ("😀", r"\ud83d\ude00"),
        ("a\nb", r"a\u000ab"),
    ],
)
def test_values_are_written_as_java_reads_them(value: str, written: str) -> None:
    assert parse(nodes=1, overrides={"some.property": value})["some.property"] == written


@pytest.mark.parametrize("name", ["a b", "ü", "100%"])
def test_a_secured_broker_is_not_started_where_it_would_not_find_its_keys(name: str, tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="Choose another --data-dir"):
        Security(tmp_path / "who is let in, ü").node_properties(ENDPOINTS[0], tmp_path / name)


def test_kafkas_tools_find_the_authority_wherever_it_stands() -> None:
    text = render_user_properties("admin", "secret", servers="127.0.0.1:1", authority=Path("/Prüfung/ca.pem"))

    assert "ssl.truststore.location=/Pr\\u00fcfung/ca.pem\n" in text
