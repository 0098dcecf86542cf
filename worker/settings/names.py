"""What a setting's environment variable is called."""

import difflib
from collections.abc import Collection, Iterable

from worker.errors import SettingsError

PREFIX = "LIMELIGHT_"


def variable(field: str) -> str:
    """Environment variable of a field of `worker.settings.Settings`."""
    return PREFIX + field.upper()


def refuse_unknown(names: Iterable[str], *, fields: Collection[str]) -> None:
    """
    Args:
        names: of variables, or of files that stand for them.
        fields: every field of the settings.

    Raises:
        SettingsError: a name begins like a setting's, and is none.
    """
    known = [variable(field) for field in fields]
    for name in sorted(names):
        if not name.upper().startswith(PREFIX) or name in known:
            continue
        closest = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0)[0]
        raise SettingsError(
            f"{name} is not a setting. Did you mean {closest}? `python -m worker config show --help` lists them all."
        )
