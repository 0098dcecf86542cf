"""A registry in an object store, through fsspec with every cache switched off.

Only S3's protocol offers a write on a condition that is known here: ``If-Match`` with the object's ETag, or
``If-None-Match`` for a new one. Registries on other stores can be read.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import fsspec

from worker.errors import DeploymentConflictError, RegistryError, RegistryUnreachableError
from worker.models.store import Listing, Tagged
from worker.settings import mask_credentials

_S3_OPTIONS = {"config_kwargs": {"retries": {"total_max_attempts": 1}, "connect_timeout": 3, "read_timeout": 10}}
"""s3fs tries five times by itself, and the next poll again: more would only delay the account of it."""
_CONFLICTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409", "NoSuchKey", "404"})
"""S3's words for a condition that does not hold; the last two: the object to replace is gone."""


class ObjectStore:
    """Implements `worker.models.store.Store`."""

    def __init__(self, address: str) -> None:
        """
        Args:
            address: a URL that fsspec understands.

        Raises:
            RegistryError: it does not, or a package is missing.
        """
        self._address = mask_credentials(address.rstrip("/"))
        try:
            self._files, self._root = fsspec.core.url_to_fs(
                address.rstrip("/"),
                use_listings_cache=False,
                skip_instance_cache=True,
                **(_S3_OPTIONS if address.startswith("s3:") else {}),
            )
        except (ImportError, ValueError) as error:
            raise RegistryError(
                f"the registry {self._address} cannot be opened: {error}. For s3://, run: pip install 'limelight[s3]'"
            ) from error

    def place(self, path: str) -> str:
        """Implements `worker.models.store.Store`."""
        return f"{self._address}/{path}"

    def read(self, path: str) -> bytes | None:
        """Implements `worker.models.store.Store`."""
        with self._reaching():
            try:
                data: bytes = self._files.cat_file(self._key(path))
            except FileNotFoundError:
                return None
            return data

    def read_tagged(self, path: str) -> Tagged | None:
        """Implements `worker.models.store.Store`."""
        with self._reaching():
            try:
                # In this order: a tag that is older than the content only ever prevents a write.
                self._files.invalidate_cache()
                tag = self._files.info(self._key(path)).get("ETag", "")
                return Tagged(self._files.cat_file(self._key(path)), tag)
            except FileNotFoundError:
                return None

    def replace(self, path: str, data: bytes, *, tag: str | None) -> None:
        """Implements `worker.models.store.Store`."""
        if not hasattr(self._files, "call_s3"):
            raise RegistryError(
                f"{self._address} offers no write on a condition that is known here: two operators could overwrite "
                "each other unseen. Use a directory or an s3:// URL; workers can read the registry here."
            )
        bucket, _, key = self._key(path).partition("/")
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        with self._reaching():
            try:
                self._files.call_s3("put_object", Bucket=bucket, Key=key, Body=data, **condition)
            except OSError as error:
                if _code(error) in _CONFLICTS:
                    raise DeploymentConflictError(f"{self.place(path)} has changed since it was read.") from error
                raise

    def listing(self, path: str) -> Listing:
        """Implements `worker.models.store.Store`."""
        with self._reaching():
            try:
                self._files.invalidate_cache()
                found = self._files.ls(self._key(path), detail=True)
            except FileNotFoundError:
                found = []
        names = sorted((each["name"].rstrip("/").rpartition("/")[2], each["type"]) for each in found)
        return Listing([n for n, kind in names if kind == "directory"], [n for n, kind in names if kind == "file"])

    def put_directory(self, path: str, files: Mapping[str, bytes]) -> None:
        """Implements `worker.models.store.Store`."""
        with self._reaching():
            for name, data in files.items():
                self._files.pipe_file(self._key(f"{path}/{name}"), data)

    def _key(self, path: str) -> str:
        return f"{self._root}/{path}".rstrip("/")

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except RegistryError:
            raise
        except Exception as error:
            # Each store's client has exceptions of its own, without a common base class.
            raise RegistryUnreachableError(
                f"the registry {self._address} cannot be used: {mask_credentials(str(error)) or type(error).__name__}. "
                "Check LIMELIGHT_REGISTRY, the network and the store's credentials."
            ) from error


def _code(error: OSError) -> str:
    """The store's own code of an error that s3fs has translated."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))
