import msgspec
import pytest

from worker.errors import LimelightError
from worker.versioned import VersionedFile

pytestmark = pytest.mark.fast


class File(msgspec.Struct):
    name: str
    schema_version: int = 2


FILE = VersionedFile(
    holds=File,
    version=2,
    called="a note",
    read_by="this test",
    refusal=LimelightError,
    if_other_version="Upgrade it.",
    if_malformed="Write it again.",
)


def test_what_was_written_is_read() -> None:
    assert FILE.decode(msgspec.json.encode(File("a")), place="here") == File("a")


@pytest.mark.parametrize("rest", ["", ', "name": 7', ', "other": []'])
def test_another_version_is_called_that_whatever_else_it_holds(rest: str) -> None:
    with pytest.raises(LimelightError) as caught:
        FILE.decode(b'{"schema_version": 3%s}' % rest.encode(), place="here")
    assert str(caught.value) == "here has schema version 3; this test reads version 2. Upgrade it."


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"schema_version": 2',
        b'{"name": "a"}',
        b'{"schema_version": "2", "name": "a"}',
        b'{"schema_version": 2, "name": 7}',
        b'{"schema_version": 2, "name": "\xff"}',
        b'{"schema_version": 2, "x": ' + b"[" * 100_000,
    ],
)
def test_the_rest_is_malformed(data: bytes) -> None:
    with pytest.raises(LimelightError, match=r"^here is not a note: .*\. Write it again\.$"):
        FILE.decode(data, place="here")
