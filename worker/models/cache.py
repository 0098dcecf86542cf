"""Downloads of bundles: whole or absent, verified, and used again by all workers of the machine."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from worker import files
from worker.bundle import Bundle, load_bundle
from worker.errors import BundleDigestError, BundleError, RegistryError
from worker.models.pruning import mark_used, prune
from worker.models.registry import Registry

Load = Callable[[Path], Bundle]


class BundleCache:
    """Bundles of a registry under ``directory/<name>/<version>/``."""

    def __init__(self, registry: Registry, directory: Path, *, load: Load = load_bundle) -> None:
        """
        Args:
            registry: where bundles come from.
            directory: where copies stay.
            load: reads and verifies a bundle.
        """
        self._registry = registry
        self._root = directory
        self._directory = directory / registry.name
        self._load = load

    def fetch(self, version: str) -> Bundle:
        """The verified bundle, downloaded first if there is no sound copy.

        Raises:
            BundleError: the registry's own is damaged, or is another version.
            RegistryError: it is missing or cannot be reached, or the copy cannot be written.
        """
        path = self._directory / version
        try:
            if path.exists():
                mark_used(path)
                try:
                    return self._verified(path, version)
                except BundleError:
                    # Damaged on this disk, or mended or signed in the registry since: what is there now decides.
                    shutil.rmtree(path)
            try:
                files.write_directory(path, lambda temporary: self._download(version, temporary))
            except OSError:
                if not path.exists():  # otherwise another worker was faster
                    raise
        except OSError as error:
            raise RegistryError(
                f"{path} cannot be written: {error.strerror}. Make room, or set LIMELIGHT_CACHE_DIR to a directory "
                "that you may write."
            ) from error
        return self._verified(path, version)

    def prune(self, used: Iterable[str]) -> None:
        """Removes what nobody has used for long, of this model or another; see `worker.models.pruning`.

        Args:
            used: versions that are in use here.
        """
        for version in used:
            mark_used(self._directory / version)
        prune(self._root)

    def _download(self, version: str, directory: Path) -> None:
        for name in self._registry.files(version):
            if not (directory / name).resolve().is_relative_to(directory.resolve()):
                raise BundleDigestError(f"{self._registry.place(version)} names a file outside the bundle: {name!r}.")
            files.write_files(directory, {name: self._registry.read_file(version, name)})
        try:
            self._verified(directory, version)
        except BundleError as error:
            # The copy goes away with its temporary name: what has to be mended is the original.
            raise type(error)(str(error).replace(str(directory), self._registry.place(version))) from error

    def _verified(self, path: Path, version: str) -> Bundle:
        bundle = self._load(path)
        found = (bundle.manifest.name, bundle.manifest.version)
        if found != (self._registry.name, version):
            raise BundleDigestError(
                f"{path} holds {found[0]} {found[1]} and not {self._registry.name} {version}. Publish it again."
            )
        return bundle
