"""What the parent has to know of the settings, read in a process of its own.

Reading and checking the settings takes 25 MB of memory that the parent would never use again.
"""

import os
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from worker.errors import SettingsError


class Facts(Struct, frozen=True, tag=True):
    """Of `worker.settings.Settings`, what the parent of several processes uses itself."""

    group_id: str
    instance_id: str | None
    health_host: str
    health_port: int
    admin_token: str | None
    drain_seconds: float
    log_format: str
    log_level: str


class _Refusal(Struct, tag=True):
    reason: str


def read_facts(bundle: Path | None) -> Facts:
    """Reads the settings in a fork of this process. Called before there are threads.

    Args:
        bundle: the option, if it was given.

    Raises:
        SettingsError: a setting is unknown, or a value is not allowed.
    """
    theirs, ours = os.pipe()
    fork = os.fork()
    if fork == 0:
        try:
            os.write(ours, msgspec.json.encode(_read(bundle)))
        except BaseException:  # noqa: BLE001 - as Python itself would end
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(0)
    os.close(ours)
    with os.fdopen(theirs, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(fork, 0)
    if not answer:
        raise SettingsError("the process that reads the settings died; what it said stands above.")
    found = msgspec.json.decode(answer, type=Facts | _Refusal)
    if isinstance(found, _Refusal):
        raise SettingsError(found.reason)
    return found


def _read(bundle: Path | None) -> Facts | _Refusal:
    from worker.settings import Settings  # noqa: PLC0415 - this is what the parent must not load

    try:
        settings = Settings.from_environment(bundle=bundle)
    except SettingsError as error:
        return _Refusal(str(error))
    return Facts(
        group_id=settings.group_id,
        instance_id=settings.instance_id,
        health_host=settings.health_host,
        health_port=settings.health_port,
        admin_token=None if settings.admin_token is None else settings.admin_token.get_secret_value(),
        drain_seconds=settings.drain_seconds,
        log_format=settings.log_format,
        log_level=settings.log_level,
    )
