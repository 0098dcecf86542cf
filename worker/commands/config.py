"""``python -m worker config {show,check}``: what the worker would do, and whether it could."""

import argparse
import os
import textwrap
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from pydantic import SecretStr

from worker.errors import TopicMissingError
from worker.opening import bundle_loader, find_bundle
from worker.settings import MASK, Settings, mask_credentials, variable
from worker.topics.facts import Absence
from worker.topics.plan import roles
from worker.transport.connections import Connections
from worker.transport.kafka_python.admin import KafkaAdmin
from worker.transport.kafka_python.properties import client_properties


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares `show` and `check`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser(
        "show",
        help="print every effective setting, secrets masked",
        description="Prints every effective setting and where it comes from; secrets are masked.",
        epilog=_describe_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    show.add_argument("--json", action="store_true", help="one JSON object: variable -> {value, source}")
    check = actions.add_parser(
        "check",
        help="tell whether a worker could start with these settings",
        description="Reads the settings, verifies the bundle, and asks the brokers whether the topics exist; prints "
        "ok, or one line that says what to do. Sizes, replication and permissions are looked at by `topics check`.",
    )
    check.add_argument("--offline", action="store_true", help="leave out brokers and topics")


def run(arguments: argparse.Namespace) -> int:
    """Prints the settings, or `ok`.

    Raises:
        LimelightError: the settings, the bundle, the brokers or the topics cannot be used.
    """
    settings = Settings.from_environment()
    if arguments.action == "check":
        for bundle in (find_bundle(settings), *map(bundle_loader(settings), settings.routes.values())):
            settings.field_map(field.name for field in bundle.manifest.fields)
        Connections(settings)
        if not arguments.offline:
            _require_topics(settings)
        print("ok")
    elif arguments.json:
        print(msgspec.json.format(msgspec.json.encode(_effective(settings)), indent=2).decode())
    else:
        for name, setting in _effective(settings).items():
            print(f"{name}={_as_variable(setting['value'])}  # source: {setting['source']}")
    return 0


def _require_topics(settings: Settings) -> None:
    """
    Raises:
        BrokerUnreachableError: no broker answered.
        TopicMissingError: a topic does not exist, or is hidden from this user.
    """
    with closing(KafkaAdmin(client_properties(settings))) as admin:
        found = admin.describe_topics(roles(settings))
    if absent := [topic for topic, facts in found.items() if isinstance(facts, Absence)]:
        raise TopicMissingError(
            f"not to be found at {settings.bootstrap_servers}: {', '.join(absent)}. `python -m worker topics create` "
            "creates what is missing, `python -m worker topics check` says more."
        )


def _effective(settings: Settings) -> dict[str, dict[str, Any]]:
    """Variable -> value, fit to be shown, and source."""
    return {
        variable(field): {
            "value": _shown(getattr(settings, field)),
            "source": _source(settings, field),
        }
        for field in Settings.model_fields
    }


def _source(settings: Settings, field: str) -> str:
    if field not in settings.model_fields_set:
        return "default"
    return "environment" if variable(field) in os.environ else "file"


def _shown(value: Any) -> Any:
    match value:
        case SecretStr():
            return MASK
        case tuple():
            return [_shown(item) for item in value]
        case dict():
            return {name: _shown(item) for name, item in value.items()}
        case Path():
            return mask_credentials(str(value))
        case str():
            return mask_credentials(value)
        case _:
            return value


def _as_variable(value: Any) -> str:
    """`value` as the environment would spell it."""
    match value:
        case None:
            return ""
        case dict():
            return msgspec.json.encode(value).decode() if value else ""
        case list() | tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)


def _describe_settings() -> str:
    """Every variable with its default and its docstring."""
    lines = ["settings, as environment variables:"]
    for field, info in Settings.model_fields.items():
        default = _as_variable(info.default)
        lines.append(f"  {variable(field)}={default}")
        lines.append(textwrap.indent(textwrap.fill(info.description or "", width=96), "      "))
    return "\n".join(lines)
