"""Every setting of the worker: one typed field each, read from the environment variable ``LIMELIGHT_<FIELD>``.

Options of the command line win over the environment, the environment wins over the defaults. A ``LIMELIGHT_`` name
that is not listed here is refused, because a misspelt setting would otherwise be ignored in silence.
"""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import (
    AfterValidator,
    BeforeValidator,
    DirectoryPath,
    Field,
    FilePath,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker.credentials import find_contradiction, read_directory, read_named_files
from worker.errors import SettingsError

PREFIX = "LIMELIGHT_"
MASK = "********"
_CREDENTIALS = re.compile(r"[^\s,]*:[^\s,]*@")
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_SECRET_PROPERTY = re.compile(r"password|passphrase|secret|jaas|\.pem$|oauthbearer\.config|oauthbearer\.extensions")
_RECORD_FIELD = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]+')  # msgspec cannot match keys that need escaping
_SECRET_FIELDS = frozenset({"sasl_password", "ssl_key_password", "admin_token", "properties"})
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


class Settings(BaseSettings):
    """What the worker can be told."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        validate_default=False,
    )

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

    input_topic: Name = "limelight.events"
    """Topic with the records to score."""
    output_topic: Name = "limelight.predictions"
    """Topic for the answers."""
    dead_letter_topic: Name = "limelight.events.dlq"
    """Topic for records that cannot be scored, with the reason in their headers."""
    status_topic: OptionalName = "limelight.status"
    """Topic for the worker's own state, once a second; empty to publish none."""
    shadow_topic: OptionalName = "limelight.shadow"
    """Topic for the answers of a shadow version; empty to publish none. Only with a registry."""
    group_id: Name = "limelight"
    """Consumer group; workers of one group share the partitions of the input topic."""
    instance_id: Name | None = None
    """This worker's lasting name in its group, different for each. The default is the host name and a free slot."""
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    """Whether answers and offsets are committed together. At least once writes the answers first, without transactions:
    readers need no read_committed and never wait for a dead worker's transaction; but a crash, a failed write or a
    worker that was suspended answers some records twice, and out of order."""
    start: Literal["earliest", "latest"] = "earliest"
    """Where a group without committed offsets begins: a new one, or one whose offsets somebody deleted, or that had no
    member for longer than the brokers keep them (their offsets.retention.minutes, 7 days by default). Partitions that
    are added later begin at their first record."""
    offset_gap: Literal["stop", "skip"] = "stop"
    """What to do when records were deleted before they were read: stop loudly, or go on with the oldest left."""

    bundle: Path | None = None
    """Directory of the model bundle, as printed by `python -m export`. To score, give this or a registry."""
    registry: str | None = None
    """Where models are kept that change while the worker runs: a directory, or a URL such as s3://bucket/models."""
    model_name: Name | None = None
    """Which model of the registry to follow."""
    poll_seconds: Annotated[float, Field(ge=0.05, le=3600)] = 0.5
    """How often the registry's deployment file is read. For so long, workers of a group may answer with different
    versions after a change."""
    golden_limit_seconds: Seconds = 0.1
    """A version of the registry that needs longer for one of its golden records is refused."""
    cache_dir: Path | None = None
    """Where downloads are kept. The default is limelight in XDG_CACHE_HOME or in .cache of the home directory."""
    routes: Routes = {}
    """Further input topics, each with a bundle of its own: reviews.de=bundles/de,... or JSON. Records of INPUT_TOPIC go
    to the model of the other settings; every Prediction names its source and its model."""
    trusted_keys: KeyFiles = ()
    """Files with public keys, separated by commas: bundles that none of them has signed are refused. Empty to take any;
    `python -m export keygen` makes keys, and `python -m export sign` signs."""
    id_field: RecordField = "id"
    """Record field with the event's id, if it has one."""
    fields: FieldMap = {}
    """Where the model's fields stand in a record: text=review,... or JSON. The default is the same names."""
    tombstones: Literal["dead_letter", "skip"] = "dead_letter"
    """What a record without a value becomes: a dead letter, or nothing, where the topic is compacted."""

    abstain_below: Annotated[float, Field(ge=0, le=1)] = 0
    """Probability of the best label under which the answer names none: `label` is null and `abstained` true."""
    attention_weights: Annotated[int, Field(ge=1)] | None = None
    """How many weights of each attention a Prediction carries: the largest, in the order of the text. The default is
    all."""
    token_text: bool = True
    """Whether a Prediction repeats the text of the tokens, which may be personal. Their places stay in any case."""
    execution_provider: str = "CPUExecutionProvider"
    """What ONNX Runtime computes on; the package that is installed has to bring it."""
    session_options: SessionOptions = {}
    """Options of ONNX Runtime's sessions: intra_op_num_threads=1,graph_optimization_level=ORT_ENABLE_BASIC, or
    configuration entries, whose names have dots: session.intra_op.allow_spinning=1."""

    max_record_bytes: Annotated[int, Field(ge=1)] = 16 << 20
    """Bytes of key, value and headers; a record with more becomes a dead letter, unread."""
    max_record_headers: Annotated[int, Field(ge=0)] = 1_000
    """Headers of a record; the same."""
    max_nesting: Annotated[int, Field(ge=1, le=1_000)] = 100
    """Objects and lists inside one another in a value; the same."""
    max_text_tokens: Annotated[int, Field(ge=1)] = 1_000_000
    """Tokens of a text; the same. The model reads the first of them only, and says `truncated`."""

    slice_records: Annotated[int, Field(ge=1, le=100_000)] = 512
    """Records that are scored together at most. A transaction takes every slice that is ready when it begins."""
    slice_bytes: Annotated[int, Field(ge=1, le=1 << 30)] = 1 << 20
    """Bytes of keys and values that close a slice. The record that reaches the limit still belongs to it."""
    slice_seconds: Annotated[float, Field(ge=0, le=60)] = 0.002
    """So long after its first record was read a slice is closed, unless scoring is busy with the one before."""
    batch_records: Annotated[int, Field(ge=1, le=4_096)] = 32
    """Records that the model scores in one call. Throughput saturates between 8 and 32 and falls at 128."""

    transaction_timeout_seconds: Seconds = 10
    """After this long the broker aborts the transaction of a worker that died; until then readers wait."""
    delivery_deadline_seconds: Seconds = 8
    """After this long the worker gives an unanswered transaction up, aborts it and reads its slice again."""
    session_timeout_seconds: SessionSeconds = 15
    """After this long without a heartbeat the group gives the worker's partitions to others. It should exceed what the
    brokers need to replace one that died, 9 to 14 s by default, or each such death casts workers out. Less would gain
    little: whoever takes the partitions over must wait for the transaction of the dead worker. Brokers take no less
    than 6 s by default (their group.min.session.timeout.ms)."""
    drain_seconds: Seconds = 20
    """How long the worker may finish what it has read after SIGTERM. A second signal ends it at once."""
    leave_on_stop: bool = False
    """Whether SIGTERM means that this worker will not come back, as when fewer are wanted: its partitions go to others
    at once. Otherwise they wait for its restart, until the session times out. Ctrl-C always means it."""

    health_host: Annotated[str, StringConstraints(min_length=1)] = "127.0.0.1"
    """Address that /livez, /readyz and /metrics listen on."""
    health_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Port of the same; 0 takes a free one, which the first log line tells."""
    admin_token: Annotated[SecretStr, Field(min_length=16)] | None = None
    """Who sends it as a bearer token may POST /pause, /resume and /drain to the same port; never shown. Without one,
    nobody may."""
    admin_token_file: FilePath | None = None
    """File with the same, in its place."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """One JSON object a line, or text for people; auto is console when stderr is a terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log line that is written."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Compose files and shells pass an unset variable on as an empty one; what stands in files is read."""
        optional = {name for name, field in cls.model_fields.items() if field.default is None}
        known = {name: value for name, value in given.items() if not (name in optional and value == "")}
        return known | read_named_files(known, variable)

    @model_validator(mode="after")
    def _check_topics(self) -> Self:
        topics: dict[str, str] = {}
        for field in ("input_topic", "output_topic", "dead_letter_topic", "status_topic", "shadow_topic"):
            topic = getattr(self, field)
            if topic in topics:
                raise ValueError(f"{variable(topics[topic])} and {variable(field)} are both {topic}; they must differ")
            topics[topic] = field
        for topic in self.routes:
            if topic in topics:
                raise ValueError(
                    f"{variable(topics[topic])} and {variable('routes')} both name {topic}; they must differ"
                )
        return self

    @model_validator(mode="after")
    def _check_security(self) -> Self:
        if problem := find_contradiction(dict(self), variable):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        if self.bundle is not None and self.registry is not None:
            raise ValueError(
                f"{variable('bundle')} and {variable('registry')} are both set: this bundle, or what the registry "
                "says? Unset one of them"
            )
        if (self.registry is None) != (self.model_name is None):
            raise ValueError(
                f"{variable('registry')} and {variable('model_name')} belong together; set both or neither"
            )
        return self

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        if self.delivery_deadline_seconds > self.transaction_timeout_seconds:
            raise ValueError(
                f"{variable('delivery_deadline_seconds')} may not exceed {variable('transaction_timeout_seconds')}: "
                "the broker would abort the transaction before the worker gives it up"
            )
        return self

    @classmethod
    def from_environment(cls, **overrides: object) -> Self:
        """Reads the environment.

        Args:
            overrides: field -> value of a command line option; None where the option was not given.

        Raises:
            SettingsError: a name is unknown, or a value is not allowed.
        """
        _refuse_unknown_names(os.environ)
        given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls(**{**cls._from_directory(), **given})
        except ValidationError as error:
            # Not chained: the original error holds the values, secrets included.
            raise SettingsError(_describe(error)) from None

    @classmethod
    def _from_directory(cls) -> dict[str, str]:
        """Settings that stand in files of `secrets_dir` and not in the environment.

        Raises:
            SettingsError: the directory or a file cannot be read, or a file is named like no setting.
        """
        if not (directory := os.environ.get(variable("secrets_dir"))):
            return {}
        fields = {variable(field): field for field in cls.model_fields if field != "secrets_dir"}
        try:
            _refuse_unknown_names(entry.name for entry in Path(directory).iterdir())
            found = read_directory(directory, fields.keys() - os.environ.keys())
        except OSError as error:
            raise SettingsError(f"{variable('secrets_dir')}: {directory} cannot be read: {error.strerror}.") from None
        except ValueError as error:
            raise SettingsError(f"{error}.") from None
        return {fields[name]: text for name, text in found.items()}

    def input_topics(self) -> tuple[str, ...]:
        """Every topic that is read, the one that other commands write to first."""
        return (self.input_topic, *self.routes)

    def require_bundle(self) -> Path:
        """Returns `bundle`.

        Raises:
            SettingsError: it is not set.
        """
        if self.bundle is None:
            raise SettingsError(
                f"{variable('bundle')} is not set. Give the directory that `python -m export` printed, or set "
                f"{variable('registry')} and {variable('model_name')}."
            )
        return self.bundle

    def require_registry(self) -> tuple[str, str]:
        """Returns `registry` and `model_name`.

        Raises:
            SettingsError: they are not set.
        """
        if self.registry is None or self.model_name is None:
            raise SettingsError(
                f"{variable('registry')} and {variable('model_name')} are not set. Give a directory or a URL such as "
                "s3://bucket/models, and the name of a model in it."
            )
        return self.registry, self.model_name

    def cache_directory(self) -> Path:
        """Returns `cache_dir` or its default.

        Raises:
            SettingsError: it is not set, and the user has no home directory.
        """
        if self.cache_dir is not None:
            return self.cache_dir
        try:
            return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "limelight")
        except RuntimeError as error:
            raise SettingsError(f"there is no home directory for downloads. Set {variable('cache_dir')}.") from error

    def property_values(self) -> dict[str, str]:
        """Returns `properties`, secrets included."""
        return {
            name: item.get_secret_value() if isinstance(item, SecretStr) else item
            for name, item in self.properties.items()
        }

    def field_map(self, model_fields: Iterable[str]) -> dict[str, str]:
        """Completes `fields` for a model.

        Args:
            model_fields: names of the fields that the bundle reads.

        Returns:
            Model field -> record field, for `worker.messages.event_type`.

        Raises:
            SettingsError: `fields` names what the model does not read, or two values are read from one record field.
        """
        names = list(model_fields)
        if unknown := sorted(self.fields.keys() - set(names)):
            raise SettingsError(
                f"{variable('fields')} names {', '.join(unknown)}, which the model does not read. "
                f"It reads {', '.join(names)}."
            )
        mapped = {name: self.fields.get(name, name) for name in names}
        taken = [*mapped.values(), self.id_field, "passthrough"]
        if twice := sorted({name for name in taken if taken.count(name) > 1}):
            raise SettingsError(
                f"{variable('fields')} and {variable('id_field')} read the record field {', '.join(twice)} twice. "
                "Each model field, the id and passthrough need a field of their own."
            )
        return mapped


def variable(field: str) -> str:
    """Environment variable of a field of `Settings`."""
    return PREFIX + field.upper()


def mask_credentials(text: str) -> str:
    """Hides ``user:password`` in front of an ``@``."""
    return _CREDENTIALS.sub(f"{MASK}@", text)


def _refuse_unknown_names(environment: Iterable[str]) -> None:
    known = [variable(field) for field in Settings.model_fields]
    for name in sorted(environment):
        if not name.upper().startswith(PREFIX) or name in known:
            continue
        closest = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0)[0]
        raise SettingsError(
            f"{name} is not a setting. Did you mean {closest}? `python -m worker config show --help` lists them all."
        )


def _describe(error: ValidationError) -> str:
    """One line that names each variable, its value and what is allowed."""
    problems = []
    for detail in error.errors(include_url=False):
        reason = detail["msg"].removeprefix("Value error, ").replace("Input should", "it should").rstrip(".")
        if not detail["loc"]:
            problems.append(reason)
            continue
        field, *keys = map(str, detail["loc"])
        name = variable(field) + "".join(f"[{key}]" for key in keys)
        value = detail["input"]
        shown = MASK if field in _SECRET_FIELDS else repr(mask_credentials(value) if isinstance(value, str) else value)
        problems.append(f"{name}={shown} is not allowed: {reason}")
    return "; ".join(problems) + "."
