"""What a training run is told: one typed struct per section of a preset, read from TOML.

A preset is a file ``federated/presets/<name>.toml``, or any other ``.toml`` file, named by its path. Later sources win:
the defaults below, the preset, the flags (``--set section.field=value``; ``--rounds`` and ``--seed`` are short for two
of them).
"""

import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from federated.aggregation.attacks import AttackSettings
from federated.aggregation.settings import AggregationSettings
from federated.algorithms.server_optimizers import OptimizerName
from federated.data.availability import AvailabilitySettings
from federated.data.partition import MAX_CLIENTS, PartitionSettings
from federated.errors import ConfigError
from federated.privacy.settings import PrivacySettings

PRESETS = Path(str(resources.files("federated") / "presets"))

BUNDLE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z"
"""What `python -m export` takes as a directory's name; it would refuse another one only after the training."""
MAX_TOKENS = 10_000
MAX_SIZE = 4_096
"""Beyond these one array of the data, or one matrix of the model, takes gigabytes."""

EngineName = Literal["xla", "tff", "ray"]
ScheduleName = Literal["constant", "linear", "cosine", "exponential"]
AlgorithmName = Literal["fedavg", "fedsgd", "fednova", "scaffold", "mimelite", "ditto"]
OWNERS = {"proximal": ("fedavg", "ditto"), "client_momentum": ("mimelite",), "personal_pull": ("ditto",)}
"""Settings of the training that not every algorithm reads: elsewhere they would be ignored in silence."""

PositiveInt = Annotated[int, Meta(ge=1)]
LayerSize = Annotated[int, Meta(ge=1, le=MAX_SIZE)]
PositiveFloat = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(gt=0, lt=1)]
ShareOrNone = Annotated[float, Meta(ge=0, lt=1)]


class DataConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How examples become clients."""

    records: Annotated[int, Meta(ge=0)] = 0
    """How many messages to generate where no ``--data`` is given; 0: the preset is meant for a file."""
    clients: Annotated[int, Meta(ge=1, le=MAX_CLIENTS)] = 50
    """How many clients to generate; not used with ``--data``."""
    partition: PartitionSettings = PartitionSettings()
    heldout_fraction: Share = 0.1
    """Share of the training clients' examples that they do not train on."""
    validation_clients: ShareOrNone = 0.0
    """Share of the clients that never train; choices are made on them."""
    test_fraction: ShareOrNone = 0.0
    """Share of all examples that stays sealed until ``evaluate --final``."""
    vocabulary_size: Annotated[int, Meta(ge=3)] = 4_000
    """Most token ids, padding and unknown among them."""
    min_count: PositiveInt = 2
    """Rarer tokens are unknown, so that the unknown token is trained too."""
    max_tokens: Annotated[int, Meta(ge=1, le=MAX_TOKENS)] = 48
    """Longer texts are cut."""


class ModelConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Embedding -> encoder -> attention -> softmax."""

    name: Annotated[str, Meta(pattern=BUNDLE_NAME)] = "limelight"
    """Name of the model in its bundle."""
    embedding_size: LayerSize = 32
    encoder: Literal["lstm", "gru", "simple_rnn"] = "gru"
    bidirectional: bool = False
    hidden_size: LayerSize = 32
    """Units of the encoder, for each direction."""
    attention: Literal["scaled_dot", "dot", "none"] = "scaled_dot"
    """``none`` classifies the last state."""
    key_size: LayerSize = 32
    """Size of the keys and of the learned query."""
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Share of what the last layer reads that is hidden from it in training."""


class TrainingConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How the rounds go; by default FedAvg with an adaptive server (Reddi et al., 2021)."""

    engine: EngineName = "xla"
    """What executes the rounds: ``xla`` compiled, on this machine's cores; ``ray`` the same on a Ray cluster; ``tff``
    in TensorFlow Federated's runtime, the reference."""
    ray_address: str = ""
    """Head node of the cluster that ``ray`` joins, ``host:port``."""
    algorithm: AlgorithmName = "fedavg"
    rounds: PositiveInt = 20
    clients_per_round: PositiveInt = 10
    local_epochs: PositiveInt = 1
    batch_size: PositiveInt = 16
    client_learning_rate: PositiveFloat = 0.3
    """Step of the clients' SGD."""
    client_schedule: ScheduleName = "constant"
    """How that falls over the rounds."""
    proximal: Annotated[float, Meta(ge=0)] = 0.0
    """Pulls clients back to the server's weights (FedProx: mu)."""
    client_momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Of MimeLite's central optimizer (beta)."""
    personal_pull: Annotated[float, Meta(ge=0)] = 0.0
    """Pulls the clients' own models to the server's (Ditto: lambda); 0: they learn on their own."""
    server_optimizer: OptimizerName = "adam"
    server_learning_rate: PositiveFloat = 3e-3
    server_schedule: ScheduleName = "constant"
    server_momentum: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Of ``sgd``."""
    server_epsilon: PositiveFloat | None = None
    """What keeps an adaptive server from dividing by 0: the larger, the less a rare weight is amplified."""
    warmup_rounds: Annotated[int, Meta(ge=0)] = 0
    """Rounds over which both learning rates rise before their schedules begin."""
    averaged_rounds: PositiveInt = 1
    """The model is the mean of the server's models after this many latest rounds (Polyak and Juditsky, 1992): a single
    one leans towards the labels of its last cohort."""
    patience: Annotated[int, Meta(ge=0)] = 0
    """Evaluations without a better accuracy on the validation clients after which training stops, with the best model;
    0: never."""
    evaluate_every: PositiveInt = 5
    """Rounds between two evaluations on the held-out examples; the last round always evaluates."""


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole run."""

    preset: str
    seed: Annotated[int, Meta(ge=0, lt=2**32)] = 1
    """Same seed, same machine, same weights. Keras takes 32 bits."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    availability: AvailabilitySettings = AvailabilitySettings()
    aggregation: AggregationSettings = AggregationSettings()
    privacy: PrivacySettings = PrivacySettings()
    attack: AttackSettings = AttackSettings()


def list_presets() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_config(preset: str, overrides: Mapping[str, Any] | None = None) -> Config:
    """Reads a preset and lays `overrides` over it.

    Args:
        preset: name of a preset, or path of a ``.toml`` file.
        overrides: key, with dots between section and field -> value.

    Raises:
        ConfigError: there is no such preset, or a key or value in it or in `overrides` is not valid.
    """
    path = _find(preset)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}.") from error
    config, origin = _convert(preset, content, str(path)), str(path)
    if overrides:
        for key, value in overrides.items():
            _lay_over(content, key, value)
        origin = f"preset {preset} with " + " ".join(f"{key}={value}" for key, value in overrides.items())
        config = _convert(preset, content, origin)
    # Only now: a preset may say how, and leave it to a flag how much. Who writes 0 means it.
    if "privacy" in content and "epsilon" not in content["privacy"]:
        raise ConfigError(
            f"{origin}: [privacy] has no privacy.epsilon, and does nothing without. Give --epsilon, or leave it out."
        )
    return config


def parse_overrides(assignments: Iterable[str]) -> dict[str, Any]:
    """Reads ``section.field=value`` flags; values are TOML, and a bare word is a string.

    Raises:
        ConfigError: an assignment has no ``=``.
    """
    overrides = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment}: write it as key=value, e.g. training.rounds=5.")
        try:
            overrides[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            overrides[key] = value
    return overrides


def _lay_over(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, field = key.split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise ConfigError(f"{key}: {section} is a value, not a section.")
    # It would drop what the preset says about the section's other fields.
    if isinstance(value, dict) or isinstance(content.get(field), dict):
        raise ConfigError(f"{key} is a section. Set its fields one by one, e.g. training.rounds=5.")
    content[field] = value


def _find(preset: str) -> Path:
    if preset in list_presets():
        return PRESETS / f"{preset}.toml"
    if preset.endswith(".toml"):
        return Path(preset)
    raise ConfigError(f"there is no preset {preset!r}. Presets: {', '.join(list_presets())}, or a .toml file.")


def _check_training(training: TrainingConfig, origin: str) -> None:
    for name, owners in OWNERS.items():
        if getattr(training, name) and training.algorithm not in owners:
            raise ConfigError(
                f"{origin}: training.{name} does nothing in {training.algorithm}. Leave it out, or set "
                f"training.algorithm to {' or '.join(owners)}."
            )
    if bool(training.ray_address) != (training.engine == "ray"):
        raise ConfigError(
            f"{origin}: training.ray_address and --engine ray belong together. Give both, or neither; "
            "`ray start --head` starts a cluster."
        )
    if training.server_momentum and training.server_optimizer != "sgd":
        raise ConfigError(
            f"{origin}: training.server_momentum does nothing with {training.server_optimizer}. Leave it out, or set "
            "training.server_optimizer to sgd."
        )
    if training.server_epsilon is not None and training.server_optimizer == "sgd":
        raise ConfigError(f"{origin}: training.server_epsilon does nothing with sgd. Leave it out.")


def _convert(preset: str, content: Mapping[str, Any], origin: str) -> Config:
    if "preset" in content:
        raise ConfigError(f"{origin}: a preset is not a key of a preset. Name it with --preset.")
    try:
        config = msgspec.convert({**content, "preset": preset}, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{origin}: {error}. The keys are described in federated/config.py.") from error
    _check_training(config.training, origin)
    if config.training.patience and not config.data.validation_clients:
        raise ConfigError(
            f"{origin}: training.patience needs clients to choose by. Set data.validation_clients, e.g. to 0.1."
        )
    return config
