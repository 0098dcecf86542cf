"""Which models answer."""

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings

from worker.errors import SettingsError
from worker.settings.config import CONFIG
from worker.settings.names import variable
from worker.settings.values import KeyFiles, Name, Routes, Seconds


class ModelSettings(BaseSettings):
    """Bundles, or the registry that names them, and whom to trust."""

    model_config = CONFIG

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
    """A worker that runs takes no version over that it has to load and that needs longer for one of its golden records.
    What it loads at its start, a canary included, and what answered before are not timed, nor is a version in memory
    that is promoted."""
    cache_dir: Path | None = None
    """Where downloads are kept until no worker has used them for 30 days, and batch sizes that were found. The default
    is limelight in XDG_CACHE_HOME, or in .cache of the home directory."""
    routes: Routes = {}
    """Further input topics, each with a bundle of its own: reviews.de=bundles/de,... or JSON. Records of INPUT_TOPIC go
    to the model of the other settings; every Prediction names its source and its model."""
    trusted_keys: KeyFiles = ()
    """Files with public keys, separated by commas: bundles that none of them has signed are refused. Empty to take any;
    `python -m export keygen` makes keys, and `python -m export sign` signs."""

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
