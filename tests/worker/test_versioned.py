import msgspec
import pytest

from worker.versioned import MalformedError, OtherVersionError, decode_versioned

pytestmark = pytest.mark.fast


class File(msgspec.Struct):
    name: str
    schema_version: int = 2


def test_what_was_written_is_read() -> None:
    assert decode_versioned(msgspec.json.encode(File("a")), File, version=2) == File("a")


@pytest.mark.parametrize("rest", ["", ', "name": 7', ', "other": []'])
def test_another_version_is_called_that_whatever_else_it_holds(rest: str) -> None:
    with pytest.raises(OtherVersionError) as caught:
        decode_versioned(b'{"schema_version": 3%s}' % rest.encode(), File, version=2)
    assert caught.value.found == 3


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
    with pytest.raises(MalformedError):
        decode_versioned(data, File, version=2)
