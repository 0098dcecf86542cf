"""Why a bench ends without figures."""

from worker.errors import LimelightError


class BenchError(LimelightError):
    """A contestant died, or did not do the work that is measured."""
