"""Wires the parts together; the only place that knows them all."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from worker.answers.answering import Answer
from worker.building import build_answering_in_child
from worker.clock import SystemClock
from worker.errors import LimelightError, TransportError
from worker.metrics import Metrics
from worker.models.serving import Plan
from worker.ports import Offsets, Record, Sink
from worker.process.admin import Administration
from worker.process.garbage import spare_what_stays
from worker.process.health import HealthServer, Heartbeat, Readiness
from worker.process.http_server import Orders
from worker.process.instance import Instance
from worker.process.patience import open_patiently
from worker.process.share import ALONE, Share
from worker.process.start import Start
from worker.process.stopping import LEAVE_SECONDS, Stopping
from worker.reporting import Reporter
from worker.served import Served, open_served
from worker.settings import Settings
from worker.stream.attempts import Attempts
from worker.stream.breaker import CircuitBreaker
from worker.stream.caution import CautiousAnswering
from worker.stream.delivery import SliceDelivery
from worker.stream.ownership import Ownership
from worker.stream.pipeline import SLICES_AHEAD, Pipeline
from worker.transport.connections import Connections, Feed, GroupSource
from worker.transport.terms import client_id

POLL_SECONDS = 0.2
"""Longest wait for records, and so for noticing SIGTERM on an idle topic."""
STALLED_SECONDS = 90.0
"""/livez fails after so long without progress, not counting the time that a delivery is given: it is longer than a
rebalance, or a suspect on which its child hangs, may take."""
UNSETTLED_SECONDS = 15.0
"""/readyz fails when what a delivery left open cannot be ended for so long: longer than the brokers need to replace one
that died."""
FIRST_BACKOFF_SECONDS = 0.02
MAX_DOUBLINGS = 6
STATUS_SECONDS = 0.05
"""A status waits no longer for brokers that do not take it: it is sent on the thread that polls."""

log = structlog.get_logger("worker")


@dataclass(frozen=True)
class Clients:
    """This worker's place in its group, and its ways to the brokers."""

    instance: Instance
    source: GroupSource
    sink: Sink
    feed: Feed


class StreamWorker:
    """Scores a topic until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        *,
        ready_file: Path | None = None,
        until: Offsets | None = None,
        share: Share = ALONE,
        is_paused: bool = False,
    ) -> None:
        """
        Args:
            settings: effective settings.
            ready_file: written once, when the worker is ready; see `worker.process.start`.
            until: ends by itself when everything before these offsets is answered; see `worker.backfill`.
            share: which of several processes this is; see `worker.fleet`.
            is_paused: begins as if an administrator had paused it.
        """
        self._settings = settings
        self._until = until
        self._share = share
        self._clock = SystemClock()
        self._metrics = Metrics()
        self._readiness = Readiness(reading=not is_paused)
        limit_seconds = STALLED_SECONDS + settings.delivery_deadline_seconds
        self._heartbeat = Heartbeat(self._clock, limit_seconds=limit_seconds)
        self._ownership = Ownership()
        self._is_departure = False
        self._pipeline: Pipeline | None = None
        self._start = Start(ready_file)

    def run(self) -> bool:
        """Runs until SIGTERM or SIGINT, then finishes the slice at hand and leaves. A second one ends it at once.

        Returns:
            False for a backfill that was stopped before its end.

        Raises:
            LimelightError: the worker cannot start, or cannot go on.
        """
        connections = Connections(self._settings)
        limit_seconds = self._settings.drain_seconds + LEAVE_SECONDS
        with ExitStack() as opened:
            stopping = opened.enter_context(closing(Stopping(limit_seconds=limit_seconds)))
            try:
                is_complete = self._work(opened, connections, stopping)
            except LimelightError as error:
                log.error("ending", reason=str(error))  # before what follows, which may have to be cut short
                raise
            finally:
                # Also after an error: a scoring that hangs, or a client that does not close, must not keep us.
                stopping.expect_end()
        log.info("stopped")
        return is_complete

    def _work(self, opened: ExitStack, connections: Connections, stopping: Stopping) -> bool:
        """From the start to the end of the drain; what it opens is closed by the caller."""
        health = opened.enter_context(self._open_health(stopping))
        log.info("started", health_port=health.port, process_id=os.getpid())
        served = self._open_models(opened)
        clients = self._open_clients(opened, connections, stopping)
        reporter = self._build_reporter(served, clients)
        pipeline = self._open_pipeline(opened, served, clients, reporter)
        spare_what_stays()
        self._loop(pipeline, reporter, stopping, health.port)
        return self._drain(pipeline, stopping)

    def _open_health(self, stopping: Stopping) -> HealthServer:
        return HealthServer(
            self._settings.health_host,
            self._settings.health_port,
            heartbeat=self._heartbeat,
            readiness=self._readiness,
            render_metrics=self._metrics.render,
            orders=self._open_administration(stopping),
        )

    def _open_administration(self, stopping: Stopping) -> Orders | None:
        token = self._settings.admin_token
        if token is None:
            return None
        orders: dict[str, Callable[[], None]] = {
            "/pause": partial(self._set_reading, wanted=False),
            "/resume": partial(self._set_reading, wanted=True),
            "/drain": stopping.order,
        }
        return Administration(token.get_secret_value(), orders).order

    def _set_reading(self, *, wanted: bool) -> None:
        self._readiness.reading = wanted
        if self._pipeline is not None:
            self._pipeline.is_paused = not wanted

    def _open_models(self, opened: ExitStack) -> Served:
        """Loads and proves what answers."""
        settings, metrics, readiness = self._settings, self._metrics, self._readiness
        served = open_served(opened, settings, self._share, timer=self._time, metrics=metrics, readiness=readiness)
        readiness.model_warmed = True
        self._start.mark("model_ready_seconds")
        return served

    def _open_clients(self, opened: ExitStack, connections: Connections, stopping: Stopping) -> Clients:
        """Takes this worker's place in the group; whoever had it before is fenced."""
        settings = self._settings
        patiently = partial(open_patiently, is_stopping=lambda: stopping.signal is not None)
        self._heartbeat.beat()  # loading the models may have taken long, and so may each of these
        instance = opened.enter_context(
            closing(Instance(settings.group_id, settings.instance_id, process=self._share.process))
        )
        source = patiently(partial(connections.open_source, instance=instance.name, ownership=self._ownership))
        opened.callback(self._part_from, source)
        self._heartbeat.beat()
        open_sink = partial(connections.open_sink, transactional_id=instance.transactional_id, source=source)
        sink = opened.enter_context(closing(patiently(open_sink)))
        feed = opened.enter_context(closing(patiently(partial(connections.open_feed, block_seconds=STATUS_SECONDS))))
        self._readiness.transactions_initialised = True
        return Clients(instance, source, sink, feed)

    def _part_from(self, source: GroupSource) -> None:
        """Closes the source: for good after Ctrl-C and at the end of a backfill, until a restart after SIGTERM."""
        if not self._is_departure:
            source.close()
            return
        try:
            source.leave()
        except TransportError as error:
            log.warning("still a member of the group until its session times out", reason=str(error))

    def _build_reporter(self, served: Served, clients: Clients) -> Reporter:
        topic, feed = self._settings.status_topic, clients.feed
        if topic:
            feed.require(topic)
        return Reporter(
            self._metrics.stream,
            self._clock,
            group_id=self._settings.group_id,
            instance=clients.instance.name,
            process=client_id(),
            models=served.models,
            problem=served.problem,
            source=clients.source,
            publish=lambda key, value: feed.send(topic, value, key=key) if topic else None,
        )

    def _open_pipeline(self, opened: ExitStack, served: Served, clients: Clients, reporter: Reporter) -> Pipeline:
        """Starts scoring and delivering; reading is `_loop`'s."""
        settings = self._settings
        attempts = Attempts(clients.source, reach_records=(SLICES_AHEAD + 1) * settings.slice_records)
        cautious = self._answer_cautiously(opened, served, attempts)

        def prove() -> None:
            served.prove()
            cautious.prove()

        pipeline = Pipeline(
            clients.source,
            cautious.answer,
            self._build_delivery(clients, reporter),
            self._ownership,
            attempts=attempts,
            breaker=CircuitBreaker(prove, changed=self._model_changed),
            slice_records=settings.slice_records,
            slice_bytes=settings.slice_bytes,
            slice_seconds=settings.slice_seconds,
            until=self._until,
            timer=self._time,
            aborted=reporter.step_failed,
        )
        self._pipeline = pipeline
        self._set_reading(wanted=self._readiness.reading)
        pipeline.start()
        opened.callback(pipeline.close)
        return pipeline

    def _answer_cautiously(self, opened: ExitStack, served: Served, attempts: Attempts) -> CautiousAnswering[Plan]:
        cautious = CautiousAnswering(
            served.answer,
            partial(build_answering_in_child, self._settings, self._share),
            plan=lambda: served.models.plan,
            progressed=self._heartbeat.beat,
            found=attempts.acquit,
        )
        return opened.enter_context(closing(cautious))

    def _build_delivery(self, clients: Clients, reporter: Reporter) -> SliceDelivery:
        return SliceDelivery(
            clients.sink,
            self._ownership,
            output_topic=self._settings.output_topic,
            dead_letter_topic=self._settings.dead_letter_topic,
            group_id=self._settings.group_id,
            clock=self._clock,
            committed=partial(self._slice_committed, reporter),
        )

    def _slice_committed(self, reporter: Reporter, records: Sequence[Record], answers: Sequence[Answer]) -> None:
        # A slice of which the brokers refuse something takes many transactions, each of which is progress.
        self._heartbeat.beat()
        reporter.slice_committed(records, answers)

    def _model_changed(self, at_fault: bool) -> None:  # noqa: FBT001 - a callback's shape
        self._readiness.model_warmed = not at_fault
        self._metrics.models.at_fault.set(at_fault)

    def _loop(self, pipeline: Pipeline, reporter: Reporter, stopping: Stopping, health_port: int) -> None:
        finished, is_told = -1, False
        while stopping.signal is None and not pipeline.is_finished:
            if pipeline.is_idle or pipeline.finished != finished:
                # Not merely for a turn of this loop: a scoring that hangs must be seen, too.
                self._heartbeat.beat()
                finished = pipeline.finished
            pipeline.read(timeout_seconds=POLL_SECONDS)
            if self._ownership.suspended:
                doublings = min(pipeline.failures, MAX_DOUBLINGS)
                time.sleep(FIRST_BACKOFF_SECONDS * 2**doublings)
            self._look_at_group(pipeline)
            if self._ownership.joined and not is_told:
                is_told = True
                self._start.mark("joined_seconds")
                self._start.tell_ready(health_port=health_port)
            reporter.report(ready=self._readiness.is_ready())

    def _look_at_group(self, pipeline: Pipeline) -> None:
        """Both may end again: when the group gives us up, and while no transaction can be ended."""
        self._readiness.partitions_assigned = self._ownership.joined
        self._readiness.transactions_initialised = pipeline.unsettled_seconds < UNSETTLED_SECONDS

    def _drain(self, pipeline: Pipeline, stopping: Stopping) -> bool:
        """Finishes what was read; returns False for a backfill that was stopped before its end."""
        limit_seconds = self._settings.drain_seconds
        if not pipeline.drain(timeout_seconds=limit_seconds):
            log.warning("not drained in time: what is under way will be read again", limit=limit_seconds)
        self._is_departure = self._settings.leave_on_stop or stopping.signal != signal.SIGTERM
        return self._until is None or stopping.signal is None or pipeline.is_finished

    def _time(self, stage: str) -> AbstractContextManager[None]:
        # A slice of a slow model may take long: its micro-batches are progress, too. A poll is none: while a scoring
        # hangs, polling goes on.
        return self._metrics.stream.time_stage(stage, done=None if stage == "poll" else self._heartbeat.beat)
