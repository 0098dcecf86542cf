"""Header names that are no UTF-8 text, read and written back byte for byte.

Kafka takes any bytes as the name of a header. kafka-python decodes names strictly, and for one that it cannot decode
it calls the batch corrupt: the partition would end there for every reader. `accept_any_name` makes it read such a name
as a `HeaderName`. Only batches for which the client's own reading fails are touched: a version of kafka-python that
can read them never comes here.
"""

from typing import Any

from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch


class HeaderName(str):
    """A name that holds bytes which are no text, as Python holds those of file names, and encodes to the same bytes.

    The client encodes the names of the headers that it reads and writes in four places, each time strictly.
    """

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> bytes:
        """The bytes that the name was read from."""
        return super().encode(encoding, errors)


class _Buffer(bytearray):
    """A batch in which every name can be decoded; slower than the client's own."""

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return _Buffer(found) if isinstance(index, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> str:
        try:
            return super().decode(encoding)
        except UnicodeDecodeError:
            return HeaderName(super().decode(encoding, errors))


_read_next = DefaultRecordBatch.__next__


def accept_any_name() -> None:
    """Makes this process's consumers read records whose headers have names that are no UTF-8."""
    DefaultRecordBatch.__next__ = _read_next_with_any_name


def _read_next_with_any_name(batch: Any) -> Any:
    try:
        return _read_next(batch)
    except CorruptRecordError as error:
        if not isinstance(error.__context__, UnicodeDecodeError):
            raise
        # A reading that fails leaves the batch at the record where it began.
        batch._buffer = _Buffer(batch._buffer)
        return _read_next(batch)
