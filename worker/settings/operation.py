"""What operators see of the worker, and what they may order."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FilePath, SecretStr, StringConstraints
from pydantic_settings import BaseSettings

from worker.settings.config import CONFIG

_HEADER_TEXT = re.compile(r"[!-~]([ -~]*[!-~])?")


def _check_header_text(value: SecretStr) -> SecretStr:
    if not _HEADER_TEXT.fullmatch(value.get_secret_value()):
        raise ValueError("it stands in a header: give printable ASCII, with no space at either end")
    return value


AdminToken = Annotated[SecretStr, Field(min_length=16), AfterValidator(_check_header_text)]


class OperationSettings(BaseSettings):
    """Health pages, orders and logs."""

    model_config = CONFIG

    health_host: Annotated[str, StringConstraints(min_length=1)] = "127.0.0.1"
    """Address that /livez, /readyz and /metrics listen on; @NAME is an abstract Unix socket."""
    health_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Port of the same; 0 takes a free one, which the first log line tells."""
    admin_token: AdminToken | None = None
    """Who sends it as a bearer token may POST /pause, /resume and /drain to the same port; printable ASCII, and never
    shown. Without one, nobody may."""
    admin_token_file: FilePath | None = None
    """File with the same, in its place."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """One JSON object a line, or text for people; auto is console when stderr is a terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe log line that is written."""
