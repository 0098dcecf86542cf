"""Rounds as a run of an MLflow experiment, for those who compare their trainings there (extra ``mlflow``).

A run that is resumed goes on in the MLflow run that it began. MLflow keeps every point that it is given, so rounds that
run again after a crash, and come to the same, are not told twice. What goes there is what `rounds.jsonl` holds: of a
private run not who took part.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET

from federated.errors import OutputError
from federated.run_directory import RunFile
from worker.messages import RoundRecord

EXPERIMENT = "limelight"
"""Where `MLFLOW_EXPERIMENT_NAME` names no other."""
RUN_TAG = "limelight.run"
ENVIRONMENT = {
    # Nothing about a training leaves for anybody but the server that was named.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # MLflow's own seven attempts would hold up a round for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Unless the user's says otherwise."""
ONE_BATCH = 100
"""MLflow takes no more parameters at once."""


@contextlib.contextmanager
def open_mlflow(uri: str, file: RunFile) -> Iterator[Callable[[RoundRecord], None]]:
    """Sends the settings of a run, and its rounds. A server that fails ends that, and not the training.

    Args:
        uri: of the tracking server. Who must say a name and a password there sets MLflow's own variables.
        file: what the run was asked for.

    Yields:
        Takes the record of each round as soon as it is over.

    Raises:
        OutputError: the server cannot be used from the beginning.
    """
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    failures = (MlflowException, OSError)
    try:
        run = _Run(uri, file)
    except failures as error:
        raise OutputError(
            f"the rounds cannot go to MLflow at {_mask(uri)}: {_describe(error, uri)}. Start it, change --mlflow, or "
            "leave it out."
        ) from error
    lost = False

    def tell(action: Callable[[], None]) -> None:
        nonlocal lost
        if lost:
            return
        try:
            action()
        except failures as error:
            lost = True
            print(f"note: rounds no longer go to MLflow; training goes on: {_describe(error, uri)}", file=sys.stderr)

    status = "FAILED"
    try:
        yield lambda record: tell(lambda: run.log(record))
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        tell(lambda: run.end(status))


class _Run:
    """A run of MLflow's that belongs to one of ours."""

    def __init__(self, uri: str, file: RunFile) -> None:
        from mlflow import MlflowClient  # noqa: PLC0415

        self._client = MlflowClient(uri)
        self._id, self._last_round = self._find(file) or (self._begin(file), 0)

    def log(self, record: RoundRecord) -> None:
        """Sends a round's figures."""
        from mlflow.entities import Metric  # noqa: PLC0415

        if record.round <= self._last_round:
            return
        figures = {"seconds": record.seconds, **_prefixed("train", record.train)}
        if record.heldout is not UNSET:
            figures |= _prefixed("heldout", record.heldout)
        metrics = [
            Metric(re.sub(r"[^\w./ :-]", "_", name), value, record.timestamp_ms, record.round)
            for name, value in figures.items()
        ]
        self._client.log_batch(self._id, metrics=metrics)
        self._last_round = record.round

    def end(self, status: str) -> None:
        """Says how it ended: ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._client.set_terminated(self._id, status)

    def _find(self, file: RunFile) -> tuple[str, int] | None:
        """The run that was begun for this one before it was interrupted, and its last round."""
        found = self._client.search_runs([self._experiment()], f"tags.`{RUN_TAG}` = '{file.run}'", max_results=1)
        if not found:
            return None
        run_id = found[0].info.run_id
        self._client.set_terminated(run_id, "RUNNING")
        told = self._client.get_metric_history(run_id, "seconds")
        return run_id, max((metric.step for metric in told), default=0)

    def _begin(self, file: RunFile) -> str:
        from mlflow.entities import Param  # noqa: PLC0415

        tags = {RUN_TAG: file.run, **_prefixed("environment", file.environment)}
        run_id: str = self._client.create_run(self._experiment(), run_name=file.run, tags=tags).info.run_id
        params = [Param(name, str(value)) for name, value in _flatten(msgspec.to_builtins(file.config))]
        for start in range(0, len(params), ONE_BATCH):
            self._client.log_batch(run_id, params=params[start : start + ONE_BATCH])
        return run_id

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found else self._client.create_experiment(name)


def _prefixed(prefix: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}/{name}": value for name, value in figures.items()}


def _flatten(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys as `--set` takes them, with their values."""
    for name, value in section.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _mask(uri: str) -> str:
    """The address without the name and the password that may stand in it."""
    return uri.replace(f"{urlsplit(uri).netloc.rpartition('@')[0]}@", "", 1)


def _describe(error: Exception, uri: str) -> str:
    return str(error).replace(uri, _mask(uri)).partition("\n")[0].rstrip(".")
