"""Rounds as a run of an MLflow experiment, for those who compare their trainings there (extra ``mlflow``).

A run that is resumed goes on in the MLflow run that it began; a new one never does. MLflow keeps every point that it is
given, so rounds that run again after a crash, and come to the same, are not told twice. What goes there is what
`rounds.jsonl` holds: of a private run not who took part.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from federated.errors import OutputError
from federated.run_directory import RunFile, digest_run
from worker.messages import RoundRecord

EXPERIMENT = "limelight"
"""Where `MLFLOW_EXPERIMENT_NAME` names no other."""
RUN_TAG = "limelight.run"
"""Holds the digest of the run: the name of --out may have characters that end a string in a search."""
ENVIRONMENT = {
    # Nothing about a training leaves for anybody but the server that was named.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # MLflow would print where it was sent to, behind the one line of figures that standard output is for.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Whatever the user's says."""
DEFAULTS = {
    # MLflow's own seven attempts would hold up a round for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Unless the user's says otherwise."""
PARAMS_AT_ONCE, METRICS_AT_ONCE = 100, 1_000
"""MLflow takes no more."""


def check_uri(uri: str) -> None:
    """Refuses what cannot be a tracking server, or would show a password in messages and lists of processes.

    Raises:
        ValueError: says what is expected in its place.
    """
    scheme, _, rest = uri.partition("://")
    if scheme not in ("http", "https", "file") or not rest:
        raise ValueError("not an http://, https:// or file:// address")
    # An @ wherever it stands: a password that is not encoded may have slashes.
    if scheme != "file" and "@" in rest:
        raise ValueError(
            "an address with a user is shown to others: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )


@contextlib.contextmanager
def open_mlflow(uri: str, file: RunFile, *, resumed: bool) -> Iterator[Callable[[RoundRecord], None]]:
    """Sends the settings of a run, and its rounds. A server that fails ends that, and not the training.

    Args:
        uri: of the tracking server, without a password, see `check_uri`.
        file: what the run was asked for.
        resumed: it began before: goes on in the run that it has there, if it has one.

    Yields:
        Takes the record of each round as soon as it is over.

    Raises:
        OutputError: the server cannot be used from the beginning.
    """
    os.environ.update(ENVIRONMENT)
    os.environ.update({name: value for name, value in DEFAULTS.items() if name not in os.environ})
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    failures = (MlflowException, OSError)
    try:
        run = _Run(uri, file, resumed=resumed)
    except failures as error:
        raise OutputError(
            f"the rounds cannot go to MLflow at {uri}: {_describe(error)}. Start it, change --mlflow, or leave it out."
        ) from error
    lost = False

    def tell(action: Callable[[], None]) -> None:
        nonlocal lost
        try:
            action()
        except failures as error:
            if not lost:
                print(f"note: rounds no longer go to MLflow; training goes on: {_describe(error)}", file=sys.stderr)
            lost = True

    def send(record: RoundRecord) -> None:
        if not lost:
            tell(lambda: run.log(record))

    status = "FAILED"
    try:
        yield send
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        # Also of a run that has lost rounds: the server may be back, and would show it as running for ever.
        tell(lambda: run.end(status))


class _Run:
    """A run of MLflow's that belongs to one of ours."""

    def __init__(self, uri: str, file: RunFile, *, resumed: bool) -> None:
        from mlflow import MlflowClient  # noqa: PLC0415

        self._client = MlflowClient(uri)
        found = self._find(file) if resumed else None
        self._id, self._last_round = found or (self._begin(file), 0)

    def log(self, record: RoundRecord) -> None:
        """Sends a round's figures."""
        from mlflow.entities import Metric  # noqa: PLC0415

        if record.round <= self._last_round:
            return
        figures = _prefixed("train", record.train)
        if record.heldout is not UNSET:
            figures |= _prefixed("heldout", record.heldout)
        # Last: it tells a run that is resumed which rounds are complete.
        figures["seconds"] = record.seconds
        metrics = [Metric(name, value, record.timestamp_ms, record.round) for name, value in figures.items()]
        for start in range(0, len(metrics), METRICS_AT_ONCE):
            self._client.log_batch(self._id, metrics=metrics[start : start + METRICS_AT_ONCE])
        self._last_round = record.round

    def end(self, status: str) -> None:
        """Says how it ended: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._client.set_terminated(self._id, status)

    def _find(self, file: RunFile) -> tuple[str, int] | None:
        """The run that was begun for this one before it was interrupted, and its last round."""
        wanted = f"tags.`{RUN_TAG}` = '{digest_run(file)}'"
        found = self._client.search_runs([self._experiment()], wanted, max_results=1)
        if not found:
            return None
        run_id = found[0].info.run_id
        self._client.set_terminated(run_id, "RUNNING")
        told = self._client.get_metric_history(run_id, "seconds")
        return run_id, max((metric.step for metric in told), default=0)

    def _begin(self, file: RunFile) -> str:
        from mlflow.entities import Param  # noqa: PLC0415

        tags = {RUN_TAG: digest_run(file), **_prefixed("environment", file.environment)}
        run_id: str = self._client.create_run(self._experiment(), run_name=file.run, tags=tags).info.run_id
        params = [Param(name, str(value)) for name, value in _flatten(msgspec.to_builtins(file.config))]
        for start in range(0, len(params), PARAMS_AT_ONCE):
            self._client.log_batch(run_id, params=params[start : start + PARAMS_AT_ONCE])
        return run_id

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found else self._client.create_experiment(name)


def _prefixed(prefix: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}/{_encode(name)}": value for name, value in figures.items()}


def _encode(name: str) -> str:
    """What MLflow does not take, by code point, so that no two labels share a name: ``a,b`` becomes ``aU002Cb``.

    A slash it would take, but not each path that one makes.
    """
    return re.sub(r"[^\w. :-]", lambda found: f"U{ord(found[0]):04X}", name)


def _flatten(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys as `--set` takes them, with their values."""
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _describe(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
