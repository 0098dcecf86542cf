"""Errors of the dead letters' own."""

from worker.errors import LimelightError


class ReplayError(LimelightError):
    """A replay cannot go on as it was asked for."""
