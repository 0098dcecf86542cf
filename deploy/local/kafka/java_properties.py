"""Files of the format of ``java.util.Properties``."""

import struct
from collections.abc import Mapping

ASCII_END = 128


def render_properties_file(properties: Mapping[str, object]) -> str:
    """One line for each property, in ASCII."""
    return "".join(f"{_escape(name)}={_escape(str(value))}\n" for name, value in properties.items())


def _escape(text: str) -> str:
    """What Java reads as `text`: it takes the file for Latin-1, and backslashes for escapes."""
    units = struct.iter_unpack(">H", text.encode("utf-16-be", errors="surrogatepass"))
    return "".join(
        chr(unit) if chr(unit).isprintable() and unit < ASCII_END and chr(unit) != "\\" else f"\\u{unit:04x}"
        for (unit,) in units
    )
