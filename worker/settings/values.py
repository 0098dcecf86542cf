"""Types of settings: how each is spelled in the environment, and which values are allowed."""

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_SECRET_PROPERTY = re.compile(r"password|passphrase|secret|jaas|\.pem$|oauthbearer\.config|oauthbearer\.extensions")
_RECORD_FIELD = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]+')  # msgspec cannot match keys that need escaping
_SERVER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+):[0-9]{1,5}")


def _check_servers(value: str) -> str:
    servers = [server.strip() for server in value.split(",")]
    for server in servers:
        if not _SERVER.fullmatch(server) or int(server.rpartition(":")[2]) > 65_535:
            raise ValueError("give host:port, several separated by commas")
    return ",".join(servers)


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value) or value in {".", ".."}:
        raise ValueError("give at most 249 letters, digits, dots, underscores and dashes, as Kafka allows")
    return value


def _check_optional_name(value: str) -> str:
    return value and _check_name(value)


def _check_record_field(value: str) -> str:
    if not _RECORD_FIELD.fullmatch(value):
        raise ValueError("give a key of the event's JSON object, without quotes, backslashes and control characters")
    return value


def _parse_pairs(value: Any, *, form: str) -> Any:
    """Reads ``name=value,other=value`` or the same as a JSON object; `form` says what is expected."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"this JSON cannot be read: {error}") from error
    pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
    if any(not equals for _, equals, _ in pairs) or len({name.strip() for name, _, _ in pairs}) < len(pairs):
        raise ValueError(f"{form}, separated by commas, or as JSON")
    return {name.strip(): text.strip() for name, _, text in pairs}


def _parse_fields(value: Any) -> Any:
    return _parse_pairs(value, form="give each model field once, as model_field=record_field")


def _parse_routes(value: Any) -> Any:
    return _parse_pairs(value, form="give each topic once, as topic=bundle")


def _parse_list(value: Any) -> Any:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _parse_session_options(value: Any) -> Any:
    return _parse_pairs(value, form="give each option once, as name=value")


def _parse_properties(value: Any) -> Any:
    """Values become text, as in a properties file; what is secret by its name becomes a `SecretStr`."""
    given = _parse_pairs(value, form="give each property once, as name=value")
    if not isinstance(given, dict):
        return given
    properties: dict[str, str | SecretStr] = {}
    for name, item in given.items():
        match item:
            case bool():
                properties[name] = str(item).lower()
            case int() | float():
                properties[name] = str(item)
            case str():
                properties[name] = SecretStr(item) if _SECRET_PROPERTY.search(name.lower()) else item
            case SecretStr():
                properties[name] = item
            case _:
                raise ValueError(f"{name} is neither text, nor a number, nor true or false")
    return properties


Servers = Annotated[str, AfterValidator(_check_servers)]
Name = Annotated[str, AfterValidator(_check_name)]
OptionalName = Annotated[str, AfterValidator(_check_optional_name)]
RecordField = Annotated[str, AfterValidator(_check_record_field)]
FieldMap = Annotated[dict[str, RecordField], NoDecode, BeforeValidator(_parse_fields)]
Properties = Annotated[dict[str, str | SecretStr], NoDecode, BeforeValidator(_parse_properties)]
Routes = Annotated[dict[Name, Path], NoDecode, BeforeValidator(_parse_routes)]
KeyFiles = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_parse_list)]
SessionOptions = Annotated[dict[str, str], NoDecode, BeforeValidator(_parse_session_options)]
Seconds = Annotated[float, Field(gt=0, le=900)]
"""900 s is the longest transaction that a broker allows by default."""
SessionSeconds = Annotated[float, Field(ge=1.5, le=900)]
"""Three heartbeats of `worker.transport.terms.HEARTBEAT_MS`: one that is late must not cost the membership."""
