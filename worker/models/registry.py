"""A registry of models: ``<name>/<version>/`` bundles, and beside them the deployment file of that name."""

from collections.abc import Callable, Iterable
from pathlib import Path

from worker.bundle import MANIFEST, Manifest, decode_manifest, load_bundle
from worker.errors import DeploymentConflictError, RegistryError
from worker.models import deployment as deployments
from worker.models.deployment import Deployment
from worker.models.store import Store

VERSION_CHARACTERS = 64
"""A version is a sha256 in hexadecimal."""
SHORTEST_PREFIX = 4


class Registry:
    """The bundles and the deployment of one name."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self.name = name
        self._file = f"{name}/{deployments.FILE}"

    def place(self, version: str) -> str:
        """Where a bundle is, for people."""
        return self._store.place(f"{self.name}/{version}")

    def deployment(self) -> Deployment:
        """The deployment as it is now.

        Raises:
            RegistryError: there is none, it is half-written, or it is of another schema or name.
            RegistryUnreachableError: the store does not answer.
        """
        found = self.find_deployment()
        if found is None:
            raise RegistryError(
                f"there is no deployment at {self._store.place(self._file)}. Make a version current: "
                "python -m worker models promote VERSION"
            )
        return found

    def find_deployment(self) -> Deployment | None:
        """The same, or None if nothing was ever promoted."""
        data = self._store.read(self._file)
        return None if data is None else self._decode(data)

    def change(
        self, change: Callable[[Deployment | None], Deployment], *, expected_generation: int | None = None
    ) -> Deployment:
        """Makes the next generation, in one write that fails if somebody else was faster.

        Args:
            change: gets the deployment as it is, None if there is none yet.
            expected_generation: refuses to start from another one.

        Raises:
            DeploymentConflictError: another change came between.
            RegistryError: `change` refuses, or the file cannot be read or written.
        """
        found = self._store.read_tagged(self._file)
        before = self._decode(found.data) if found else None
        generation = before.generation if before else 0
        if expected_generation not in (None, generation):
            raise DeploymentConflictError(
                f"{self.name} is at generation {generation} and not {expected_generation}: somebody changed it. "
                "Look at `python -m worker models history` and decide anew."
            )
        after = change(before)
        data = deployments.encode(after)
        try:
            self._store.replace(self._file, data, tag=found.tag if found else None)
        except DeploymentConflictError as error:
            # A write whose answer was lost is made again by the client, and then finds its own.
            if self._store.read(self._file) != data:
                raise DeploymentConflictError(
                    f"somebody else changed the deployment of {self.name} at the same time; nothing was written. "
                    "Look at `python -m worker models history` and decide anew."
                ) from error
        return after

    def publish(self, bundle: Path) -> str:
        """Copies a bundle into the registry, its manifest last; it deploys nothing.

        Returns:
            Its version.

        Raises:
            BundleError: there is no sound bundle at `bundle`.
            RegistryError: it has another name, or the store does not take it.
        """
        manifest = load_bundle(bundle).manifest
        if manifest.name != self.name:
            raise RegistryError(f"{bundle} holds the model {manifest.name}, and LIMELIGHT_MODEL_NAME is {self.name}.")
        beside = sorted(each.name for each in bundle.iterdir() if each.is_file())
        contents = {name: (bundle / name).read_bytes() for name in in_copying_order(manifest, beside)}
        self._store.put_directory(f"{self.name}/{manifest.version}", contents)
        return manifest.version

    def versions(self) -> list[str]:
        """Every version that has a manifest, sorted."""
        found = self._store.listing(self.name).directories
        return [each for each in found if _is_version(each) and self._read(each, MANIFEST) is not None]

    def manifest(self, version: str) -> Manifest:
        """What a bundle says about itself, not verified yet.

        Raises:
            RegistryError: there is no such bundle.
            BundleSchemaError: its manifest is malformed.
        """
        return decode_manifest(self.read_file(version, MANIFEST), place=f"{self.place(version)}/{MANIFEST}")

    def files(self, version: str) -> list[str]:
        """Files of a bundle, those beside the manifest's own included, such as a signature. Raises like `manifest`."""
        return in_copying_order(self.manifest(version), self._store.listing(f"{self.name}/{version}").files)

    def read_file(self, version: str, name: str) -> bytes:
        """Content of one file of a bundle, not verified.

        Raises:
            RegistryError: there is no such file.
        """
        data = self._read(version, name)
        if data is None:
            raise RegistryError(
                f"there is no {name} at {self.place(version)}. Publish the bundle: "
                "python -m worker models publish DIRECTORY"
            )
        return data

    def resolve(self, prefix: str) -> str:
        """The one version that begins with `prefix`, which has at least `SHORTEST_PREFIX` characters.

        Raises:
            RegistryError: there is none, or more than one.
        """
        found = [each for each in self.versions() if each.startswith(prefix)]
        if len(found) == 1 and len(prefix) >= SHORTEST_PREFIX:
            return found[0]
        problem = f"{len(found)} versions begin" if found else "no version begins"
        raise RegistryError(
            f"{problem} with {prefix!r} at {self._store.place(self.name)}. Give {SHORTEST_PREFIX} or more characters "
            "of a version that `python -m worker models list` shows."
        )

    def _decode(self, data: bytes) -> Deployment:
        place = self._store.place(self._file)
        deployment = deployments.decode(data, place)
        if deployment.name != self.name:
            raise RegistryError(f"{place} is of the model {deployment.name}. Each belongs beside its own bundles.")
        for version in (*deployment.versions(), *deployment.trail):
            if not _is_version(version):
                raise RegistryError(f"{place} names {version!r}, which is no version: 64 hexadecimal digits.")
        return deployment

    def _read(self, version: str, name: str) -> bytes | None:
        return self._store.read(f"{self.name}/{version}/{name}")


def list_names(store: Store) -> list[str]:
    """Names of all models in a registry."""
    return store.listing("").directories


def describe(deployment: Deployment) -> dict[str, str]:
    """Version -> what it does, for those that do something."""
    does = {deployment.current: "current"}
    if deployment.canary is not None:
        does[deployment.canary.version] = f"canary {deployment.canary.slots * 100 / deployments.SLOTS:g} %"
    if deployment.shadow is not None:
        shadowing = does.get(deployment.shadow)
        does[deployment.shadow] = f"{shadowing}, shadow" if shadowing else "shadow"
    return does


def in_copying_order(manifest: Manifest, beside: Iterable[str]) -> list[str]:
    """The manifest's files, what else lies beside it, and the manifest last: a copy that has it is complete."""
    return [*dict.fromkeys([*manifest.files, *(name for name in beside if name != MANIFEST)]), MANIFEST]


def _is_version(text: str) -> bool:
    return len(text) == VERSION_CHARACTERS and all(character in "0123456789abcdef" for character in text)
