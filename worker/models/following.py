"""Follows a deployment: brings what it names into memory beside what answers, and swaps it in when it is proved.

::

    every POLL_SECONDS      deployment.json ── unchanged ──> nothing
                                   │ a later generation
                                   v
          load, verify, warm up, golden records ── refused ──> told; what answers goes on, retried with backoff
                                   │ proved
                                   v
          swap between two slices; the version before stays in memory, so that a rollback takes one poll: a worker
          that started since loads it, too, as soon as something answers

All of it happens on a thread of its own. What was taken over last is remembered on disk: a worker that starts while
the registry cannot be reached begins with it.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import structlog

from worker.bundle import Bundle
from worker.errors import LimelightError, RegistryError
from worker.metrics import ModelMetrics
from worker.models.cache import BundleCache
from worker.models.deployment import Deployment
from worker.models.memory import give_back_memory
from worker.models.registry import Registry
from worker.models.remembered import recall, remember
from worker.models.serving import LoadedModel, Models, Plan, Serving
from worker.ports import Clock

MAX_RETRY_SECONDS = 60.0
"""A bundle that is refused may be mended in place, but each try may download all of it."""
PRUNE_SECONDS = 6 * 3600.0
"""Often enough to keep what is in use from looking unused; see `worker.models.pruning`."""
CLOSE_SECONDS = 5.0
"""A model that is being loaded is waited for: ONNX Runtime should not be at work while the interpreter ends. A download
that takes longer leaves nothing under its final name."""

log = structlog.get_logger("worker")


class _Taken(NamedTuple):
    """A deployment in memory."""

    serving: Serving
    shadow: Plan | None
    refusal: LimelightError | None
    """Why its canary or its shadow is missing."""

    @property
    def roles(self) -> tuple[Plan, Plan | None]:
        """What answers, and what answers on the side: a role that is refused is missing here."""
        return self.serving.plan, self.shadow


class Follower:
    """Keeps `models` at what the registry says."""

    def __init__(
        self,
        registry: Registry,
        cache: BundleCache,
        build: Callable[[Bundle], LoadedModel],
        *,
        memory: Path,
        poll_seconds: float,
        clock: Clock,
        metrics: ModelMetrics,
        followed: Callable[[bool], None],
        shadowed: Callable[[Plan | None], None],
    ) -> None:
        """
        Args:
            registry: what is followed.
            cache: gives verified bundles.
            build: loads and proves a model.
            memory: file that keeps what was taken over last.
            poll_seconds: from one look to the next.
            clock: its monotonic side decides when a refused version is tried again.
            metrics: told about swaps and refusals.
            followed: told whether what answers is what the registry asks for, whenever that may have changed.
            shadowed: told which bundle should answer on the side, if any.

        Raises:
            LimelightError: nothing can answer: not what the registry says, nor what was taken over last.
        """
        self._registry = registry
        self._cache = cache
        self._build = build
        self._memory = memory
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._metrics = metrics
        self._followed = followed
        self._shadowed = shadowed
        self._loaded: dict[str, LoadedModel] = {}
        self._told: tuple[str, int] | None = None
        self._problem: Exception | None = None
        self._untaken: Deployment | None = None
        self._refusal: Exception | None = None
        self._retry_seconds = poll_seconds
        self._due_seconds = 0.0
        self._way_back: tuple[str, float] | None = None
        self._prune_seconds = clock.monotonic_seconds()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._taken, taken = self._begin()
        self._roles = taken.roles
        self.models = Models(taken.serving, returned=metrics.returned.inc)
        """What answers."""
        self._shadowed(taken.shadow)
        self._announce(taken.serving)
        self._tell(self._problem, self._taken.generation)

    def start(self) -> None:
        """Polls on a thread of its own until `close`."""
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; what it is in the middle of is given up."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    @property
    def problem(self) -> str:
        """Why what answers is not what the registry asks for; empty if it is."""
        return str(self._problem) if self._problem else self.models.problem

    def poll(self) -> None:
        """Looks once, and swaps if there is something new."""
        self._look()
        self._keep_way_back()

    def _look(self) -> None:
        if self._clock.monotonic_seconds() >= self._prune_seconds:
            self._prune_seconds = self._clock.monotonic_seconds() + PRUNE_SECONDS
            self._cache.prune(_versions_in_reach(self._taken))
        try:
            deployment = self._registry.deployment()
            self._require_later(deployment)
        except LimelightError as error:
            self._tell(error, self._taken.generation)
            return
        if deployment == self._untaken and self._clock.monotonic_seconds() < self._due_seconds:
            self._tell(self._refusal, deployment.generation)
        elif deployment == self._taken and self._untaken is None:
            self._tell(None, deployment.generation)
        else:
            self._take(deployment)

    def _run(self) -> None:
        while not self._ended.wait(self._poll_seconds):
            try:
                self.poll()
            except Exception as error:  # noqa: BLE001 - told, and the stream goes on with what it has
                self._tell(error, self._taken.generation)

    def _begin(self) -> tuple[Deployment, _Taken]:
        try:
            deployment = self._registry.deployment()
            # Not timed: a machine that is busy with its start must not refuse what answered a minute before.
            taken = self._load_all(deployment, timed=False)
            self._problem = taken.refusal
            remember(self._memory, deployment)
        except LimelightError as error:
            remembered = recall(self._memory)
            if remembered is None:
                raise
            try:
                deployment, taken = remembered, self._load_all(remembered, timed=False)
            except LimelightError:
                raise error from None
            self._problem = error
        if taken.refusal is not None:
            self._postpone(deployment, taken.refusal)
        return deployment, taken

    def _take(self, deployment: Deployment) -> None:
        try:
            taken = self._load_all(deployment, timed=True)
        except Exception as error:
            self._postpone(deployment, error)
            if not isinstance(error, LimelightError):
                raise
            self._tell(error, deployment.generation)
            return
        if taken.refusal is not None:
            self._postpone(deployment, taken.refusal)
        else:
            self._untaken = None
        # A role that was mended is taken over, although another may stay refused.
        if deployment != self._taken or taken.roles != self._roles:
            self._swap(deployment, taken)
        self._tell(taken.refusal, deployment.generation)

    def _swap(self, deployment: Deployment, taken: _Taken) -> None:
        self._taken, self._roles = deployment, taken.roles
        self.models.swap(taken.serving)
        self._shadowed(taken.shadow)
        self._metrics.swaps.inc()
        self._announce(taken.serving)
        # The version before stays for a rollback, whatever else was loaded goes.
        kept = _versions_in_reach(deployment)
        self._loaded = {version: model for version, model in self._loaded.items() if version in kept}
        give_back_memory()
        remember(self._memory, deployment)

    def _load_all(self, deployment: Deployment, *, timed: bool) -> _Taken:
        """What `deployment` asks for, without a canary or a shadow that is refused.

        Raises:
            LimelightError: the current version is refused.
        """
        refusal: LimelightError | None = None
        serving = Serving(deployment.generation, self._load(deployment.current, timed=timed))
        shadow: Plan | None = None
        try:
            if deployment.shadow is not None:
                shadow = Plan(deployment.generation, self._cache.fetch(deployment.shadow).path)
        except LimelightError as error:
            refusal = error
        try:
            if deployment.canary is not None:
                canary = self._load(deployment.canary.version, timed=timed)
                serving = replace(serving, canary=canary, slots=deployment.canary.slots)
        except LimelightError as error:
            refusal = error
        return _Taken(serving, shadow, refusal)

    def _keep_way_back(self) -> None:
        """Loads what a rollback would go back to, where a start or another rollback did not leave it in memory.

        It is no part of what the registry asks for: a way back that cannot be loaded costs a line in the log.
        """
        version = next(iter(self._taken.trail[-1:]), None)
        if version is None or version in self._loaded:
            return
        tried, due_seconds = self._way_back or (None, 0.0)
        now_seconds = self._clock.monotonic_seconds()
        if version == tried and now_seconds < due_seconds:
            return
        self._way_back = (version, now_seconds + MAX_RETRY_SECONDS)
        try:
            self._load(version, timed=False)
        except LimelightError as error:
            if version != tried:
                log.warning("a rollback would find nothing in memory", version=version, reason=str(error))
        else:
            give_back_memory()

    def _load(self, version: str, *, timed: bool) -> LoadedModel:
        if version not in self._loaded:
            model = self._build(self._cache.fetch(version))
            # What answered before was taken over once: on a machine that starves, nobody should be kept from it.
            if timed and version not in self._taken.trail:
                model.require_pace()
            self._loaded[version] = model
        return self._loaded[version]

    def _postpone(self, deployment: Deployment, refusal: Exception) -> None:
        """Waits twice as long as before, unless the deployment is a new one."""
        again = deployment == self._untaken
        self._retry_seconds = min(2 * self._retry_seconds, MAX_RETRY_SECONDS) if again else self._poll_seconds
        self._untaken, self._refusal = deployment, refusal
        self._due_seconds = self._clock.monotonic_seconds() + self._retry_seconds

    def _require_later(self, deployment: Deployment) -> None:
        """A file that was put back is no decision; what somebody decides on the grounds of it is."""
        taken = self._taken
        is_later = deployment.generation > taken.generation or deployment.changed_at > taken.changed_at
        if deployment != taken and not is_later:
            raise RegistryError(
                f"the deployment of {self._registry.name} is at generation {deployment.generation}, and is not what "
                f"was taken over as generation {taken.generation}: the file was put back or edited. Say with "
                "`python -m worker models` what should answer, or restart the workers to follow it as it is."
            )

    def _announce(self, serving: Serving) -> None:
        model = serving.current.answerer.model
        self._metrics.deployment_taken(name=model.name, version=model.version, generation=serving.generation)
        log.info("model in use", name=model.name, version=model.version, generation=serving.generation)

    def _tell(self, error: Exception | None, generation: int) -> None:
        """One line when a problem begins and one when it ends, however often it is met between."""
        self._problem = error
        self._metrics.followed.set(not self.problem)
        self._followed(not self.problem)
        kind = (type(error).__name__, generation) if error else None
        if kind == self._told:
            return
        self._told = kind
        if error is None:
            log.info("the registry is followed again", generation=generation)
            return
        self._metrics.problems.inc()
        log.error(
            "not what the registry asks for: the model in use goes on",
            reason=str(error),
            generation=generation,
            exc_info=None if isinstance(error, LimelightError) else error,
        )


def _versions_in_reach(deployment: Deployment) -> set[str]:
    """What answers, and what a rollback would go back to."""
    return {*deployment.versions(), *deployment.trail[-1:]}
