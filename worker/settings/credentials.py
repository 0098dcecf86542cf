"""What the settings say about who we are to the brokers: read from files, and checked for contradictions.

==================  ===================================================  ==================================
protocol            needs                                                may have
==================  ===================================================  ==================================
PLAINTEXT           nothing                                              nothing
SSL                 nothing                                              authority, certificate with its key
SASL_PLAINTEXT      mechanism, and user and password or a token          nothing
SASL_SSL            the same                                             as SSL
==================  ===================================================  ==================================
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FILE_SUFFIX = "_file"
FROM_FILES = ("sasl_password", "ssl_key_password", "admin_token")
"""Settings of which the value may stand in a file that another setting names."""
MAX_SECRET_BYTES = 64 * 1024
LOOPBACK = {"127.0.0.1", "::1", "localhost"}

Variable = Callable[[str], str]
"""Setting -> the environment variable that it is read from."""


def read_named_files(given: Mapping[str, Any], variable: Variable) -> dict[str, str]:
    """Reads the settings whose value stands in a file that another setting names.

    Args:
        given: setting -> value, as far as they are given.
        variable: names settings in messages.

    Raises:
        ValueError: a file cannot be read, or the value is given twice.
    """
    found = {}
    for name in FROM_FILES:
        path = given.get(name + FILE_SUFFIX)
        if path is None:
            continue
        if given.get(name) is not None:
            raise ValueError(f"{variable(name)} and {variable(name + FILE_SUFFIX)} are both set; keep one")
        found[name] = read_secret(Path(path), variable(name + FILE_SUFFIX))
    return found


def read_directory(directory: str, names: Collection[str]) -> dict[str, str]:
    """Reads the files of `directory` that are named like variables.

    Args:
        directory: as an orchestrator mounts it; other files in it are ignored.
        names: the variables.

    Raises:
        ValueError: a file cannot be read.
    """
    return {name: read_secret(path, name) for name in names if (path := Path(directory) / name).exists()}


def read_secret(path: Path, name: str) -> str:
    """The content of a file without the line break that editors leave at its end.

    Raises:
        ValueError: the file cannot be read; `name` is the variable to look at.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        # A pipe or a device is not asked for its size: it tells none.
        text = content.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ValueError(f"{name}: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        # Not chained: the error holds the content.
        raise ValueError(f"{name}: {path} is not text in UTF-8") from None
    if not text or len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"{name}: {path} {'is empty' if not text else 'is too large to be a secret'}")
    return text


def find_contradiction(given: Mapping[str, Any], variable: Variable) -> str | None:
    """What is missing, or would not be used.

    Args:
        given: setting -> value, None where it is not set.
        variable: names settings in the answer.
    """
    return next(_find_contradictions(given, variable), None)


def _find_contradictions(given: Mapping[str, Any], variable: Variable) -> Iterator[str]:
    protocol: str = given["security_protocol"]
    chosen = f"{variable('security_protocol')}={protocol}"
    is_set = {name for name, value in given.items() if value is not None}
    # Who named a file should read of the file.
    named = {name for name in is_set if name + FILE_SUFFIX not in is_set}

    def name_all(names: Collection[str]) -> str:
        return ", ".join(variable(name) for name in given if name in names)

    if protocol.startswith("SASL"):
        needed, unused = _login_settings(given)
        if missing := [name for name in needed if name not in is_set]:
            yield f"{chosen} needs {name_all(missing)}"
        if unused & named:
            mechanism = f"{variable('sasl_mechanism')}={given['sasl_mechanism']}"
            yield f"{name_all(unused & named)} would not be used with {mechanism}"
    elif login := {name for name in named if name.startswith("sasl_")}:
        yield f"{name_all(login)} would not be used with {chosen}; use SASL_SSL"
    encryption = {name for name in named if name.startswith("ssl_")}
    if encryption and not protocol.endswith("SSL"):
        yield f"{name_all(encryption)} would not be used with {chosen}; use SSL or SASL_SSL"
    if ("ssl_certificate_file" in is_set) != ("ssl_key_file" in is_set):
        yield f"{variable('ssl_certificate_file')} and {variable('ssl_key_file')} belong together; set both, or none"
    if "ssl_key_password" in is_set and "ssl_key_file" not in is_set:
        yield f"{variable('ssl_key_password')} needs {variable('ssl_key_file')}"
    if (url := given["sasl_token_url"]) is not None:
        yield from _find_flaws(url, variable)


def _login_settings(given: Mapping[str, Any]) -> tuple[list[str], set[str]]:
    """Settings that the mechanism needs, and those that it does not use."""
    user, token = ["sasl_username", "sasl_password"], {"sasl_token_file", "sasl_token_url", "sasl_token_scope"}
    if given["sasl_mechanism"] != "OAUTHBEARER":
        return ["sasl_mechanism", *user], token
    if given["sasl_token_url"] is not None:
        return user, {"sasl_token_file"}
    return ["sasl_token_file"], {*user, "sasl_password_file", "sasl_token_scope"}


def _find_flaws(url: str, variable: Variable) -> Iterator[str]:
    """What is wrong with the address of an identity provider, without telling it: a secret may stand in it."""
    name = variable("sasl_token_url")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # a bracket that does not close, or no number after the colon
        yield f"{name} is no address: give an https address"
        return
    if "@" in parts.netloc or parts.query or parts.fragment:
        yield (
            f"{name} may hold no user, password or query, which logs and errors would show: who asks stands in "
            f"{variable('sasl_username')} and {variable('sasl_password')}, or {variable('sasl_password_file')}"
        )
    is_private = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not (parts.hostname and is_private):
        yield f"{name} sends the client's secret: give an https address"
