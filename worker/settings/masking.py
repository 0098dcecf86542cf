"""What is said about settings without telling their secrets."""

import re

from pydantic import ValidationError

from worker.settings.names import variable

MASK = "********"
_IN_URL = re.compile(r"\b{scheme}(?:(?!\b{scheme})\S)*@".format(scheme="[a-z][a-z0-9+.-]{0,20}://"), re.IGNORECASE)
"""A comma may belong to the password here: only another URL ends one."""
_CREDENTIALS = re.compile(r"[^\s,]*:[^\s,]*@")
_SECRET_FIELDS = frozenset({"sasl_password", "ssl_key_password", "admin_token", "properties"})


def mask_credentials(text: str) -> str:
    """Hides ``user:password`` in front of an ``@``."""
    return _CREDENTIALS.sub(f"{MASK}@", _IN_URL.sub(f"{MASK}@", text))


def describe(error: ValidationError) -> str:
    """One line that names each variable, its value and what is allowed."""
    problems = []
    for detail in error.errors(include_url=False):
        reason = detail["msg"].removeprefix("Value error, ").replace("Input should", "it should").rstrip(".")
        if not detail["loc"]:
            problems.append(reason)
            continue
        field, *keys = map(str, detail["loc"])
        name = variable(field) + "".join(f"[{key}]" for key in keys)
        value = detail["input"]
        shown = MASK if field in _SECRET_FIELDS else repr(mask_credentials(value) if isinstance(value, str) else value)
        problems.append(f"{name}={shown} is not allowed: {reason}")
    return "; ".join(problems) + "."
