"""What a version leaves behind when it goes."""

import ctypes

_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back_memory() -> None:
    """Returns memory that was freed to the system, where the C library can.

    glibc keeps it for later, in arenas of each thread: a model is loaded on one thread and scores on another, so a
    worker would grow with its first ten or twenty models.
    """
    if _TRIM is not None:
        _TRIM(0)
