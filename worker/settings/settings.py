"""All groups of settings as one."""

import os
from pathlib import Path
from typing import Any, Self

from pydantic import SecretStr, ValidationError, model_validator

from worker.errors import SettingsError
from worker.settings.answers import AnswerSettings
from worker.settings.brokers import BrokerSettings
from worker.settings.credentials import read_directory, read_named_files
from worker.settings.masking import describe
from worker.settings.model import ModelSettings
from worker.settings.names import refuse_unknown, variable
from worker.settings.operation import OperationSettings
from worker.settings.pace import PaceSettings
from worker.settings.stream import StreamSettings


# pydantic orders the fields from the last base to the first: the brokers' are told first.
class Settings(OperationSettings, PaceSettings, AnswerSettings, ModelSettings, StreamSettings, BrokerSettings):
    """What the worker can be told."""

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

    @classmethod
    def from_environment(cls, **overrides: object) -> Self:
        """Reads the environment.

        Args:
            overrides: field -> value of a command line option; None where the option was not given.

        Raises:
            SettingsError: a name is unknown, or a value is not allowed.
        """
        refuse_unknown(os.environ, fields=cls.model_fields)
        given: dict[str, Any] = {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls(**{**cls._from_directory(), **given})
        except ValidationError as error:
            # Not chained: the original error holds the values, secrets included.
            raise SettingsError(describe(error)) from None

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
            refuse_unknown((entry.name for entry in Path(directory).iterdir()), fields=cls.model_fields)
            found = read_directory(directory, fields.keys() - os.environ.keys())
        except OSError as error:
            raise SettingsError(f"{variable('secrets_dir')}: {directory} cannot be read: {error.strerror}.") from None
        except ValueError as error:
            raise SettingsError(f"{error}.") from None
        return {fields[name]: text for name, text in found.items()}

    def input_topics(self) -> tuple[str, ...]:
        """Every topic that is read, the one that other commands write to first."""
        return (self.input_topic, *self.routes)

    def property_values(self) -> dict[str, str]:
        """Returns `properties`, secrets included."""
        return {
            name: item.get_secret_value() if isinstance(item, SecretStr) else item
            for name, item in self.properties.items()
        }
