"""Wires the parts together; the only place that knows them all."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import msgspec
import structlog

from worker.admin import Administration
from worker.answering import Answer, Answerer, Detail, Timer
from worker.attempts import Attempts
from worker.breaker import CircuitBreaker
from worker.bundle import Bundle
from worker.caution import Answering, CautiousAnswering
from worker.clock import SystemClock
from worker.delivery import SliceDelivery
from worker.errors import TransportError
from worker.features import require_tokenizer
from worker.files import write_file
from worker.golden import check_golden_records, check_latency
from worker.health import HealthServer, Heartbeat, Readiness
from worker.http_server import Orders
from worker.instance import Instance
from worker.limits import Limits
from worker.logs import configure
from worker.metrics import Metrics
from worker.models.serving import LoadedModel, Models, Plan
from worker.models.shadow import Comparison, Shadow, Slice, compare_answers, run_when_idle
from worker.opening import bundle_loader, open_follower, open_plan, open_router
from worker.ownership import Ownership
from worker.pipeline import SLICES_AHEAD, Pipeline
from worker.ports import Offsets, Record
from worker.reporting import Reporter
from worker.scorer import OnnxScorer
from worker.settings import Settings
from worker.stopping import Stopping
from worker.transport.connections import Connections, Feed, GroupSource
from worker.transport.terms import client_id

POLL_SECONDS = 0.2
"""Longest wait for records, and so for noticing SIGTERM on an idle topic."""
STALLED_SECONDS = 90.0
"""/livez fails after this long without a turn of the loop: longer than a rebalance or a delivery may take."""
FIRST_BACKOFF_SECONDS = 0.02
MAX_DOUBLINGS = 6
STATUS_SECONDS = 0.05
"""A status waits no longer for brokers that do not take it: it is sent on the thread that polls."""
LEAVE_SECONDS = 10.0
"""Time to close the clients after the drain, before the process leaves without them."""

log = structlog.get_logger("worker")


def build_model(settings: Settings, timer: Timer, bundle: Bundle) -> LoadedModel:
    """Loads the bundle's model, checks it on its golden records and builds what answers records with it.

    Raises:
        BundleError: the model cannot be loaded, or answers differently than when it was exported.
        SettingsError: the settings name a field that the model does not read.
    """
    field = bundle.manifest.fields[0]
    require_tokenizer(bundle.path, field)
    record_field = settings.field_map([field.name])[field.name]
    scorer = OnnxScorer(bundle, provider=settings.execution_provider, session_options=settings.session_options)
    prove = partial(check_golden_records, bundle.without_graphs(), scorer)
    prove()
    if settings.registry is not None:
        check_latency(bundle, scorer, limit_seconds=settings.golden_limit_seconds)
    answerer = Answerer(
        bundle.manifest,
        bundle.vocabulary(field),
        scorer,
        prove=prove,
        record_field=record_field,
        id_field=settings.id_field,
        skip_tombstones=settings.tombstones == "skip",
        batch_records=settings.batch_records,
        limits=Limits(
            settings.max_record_bytes, settings.max_record_headers, settings.max_nesting, settings.max_text_tokens
        ),
        detail=Detail(settings.abstain_below, settings.attention_weights, settings.token_text),
        clock=SystemClock(),
        timer=timer,
    )
    return LoadedModel(bundle.path, answerer, prove)


def build_answering_in_child(settings: Settings, plan: Plan) -> Answering:
    """What answers in the child process that scores suspects: the same as in the parent."""
    configure(settings.log_format, settings.log_level)
    build = partial(build_model, settings, lambda _: nullcontext())
    models = open_plan(plan, build, load=bundle_loader(settings))
    return open_router(settings, build, others=models.answer, prove=models.prove).answer


def build_shadow_in_child(settings: Settings, plan: Plan) -> Callable[[Slice], Comparison]:
    """What answers on the side, and compares, in the child process of a shadow."""
    run_when_idle()
    configure(settings.log_format, settings.log_level)
    models = open_plan(plan, partial(build_model, settings, lambda _: nullcontext()), load=bundle_loader(settings))
    topic = settings.shadow_topic
    feed = Connections(settings).open_feed()
    if topic:
        feed.require(topic)

    def answer_and_compare(taken: Slice) -> Comparison:
        answers = models.answer(taken.records)
        for record, answer in zip(taken.records, answers, strict=True):
            if topic and isinstance(answer, bytes):
                feed.send(topic, answer, key=record.key)
        return compare_answers(taken.answers, answers)

    return answer_and_compare


class StreamWorker:
    """Scores a topic until it is told to stop."""

    def __init__(self, settings: Settings, *, ready_file: Path | None, until: Offsets | None = None) -> None:
        """
        Args:
            settings: effective settings.
            ready_file: written once, when the worker is ready: a JSON object with its port, process id and start times.
            until: ends by itself when everything before these offsets is answered; see `worker.backfill`.
        """
        self._settings = settings
        self._ready_file = ready_file
        self._until = until
        self._clock = SystemClock()
        self._metrics = Metrics()
        self._readiness = Readiness()
        self._heartbeat = Heartbeat(self._clock, limit_seconds=STALLED_SECONDS)
        self._ownership = Ownership()
        self._is_departure = False
        self._pipeline: Pipeline | None = None
        self._start_times: dict[str, float] = {}

    def run(self) -> bool:
        """Runs until SIGTERM or SIGINT, then finishes the slice at hand and leaves. A second one ends it at once.

        Returns:
            False for a backfill that was stopped before its end.

        Raises:
            LimelightError: the worker cannot start, or cannot go on.
        """
        settings = self._settings
        connections = Connections(settings)
        with ExitStack() as opened:
            stopping = opened.enter_context(closing(Stopping(limit_seconds=settings.drain_seconds + LEAVE_SECONDS)))
            health = opened.enter_context(
                HealthServer(
                    settings.health_host,
                    settings.health_port,
                    heartbeat=self._heartbeat,
                    readiness=self._readiness,
                    render_metrics=self._metrics.render,
                    orders=self._open_administration(stopping),
                )
            )
            log.info("started", health_port=health.port, process_id=os.getpid())
            models, answer, problem = self._open_models(opened)
            router = open_router(
                settings, partial(build_model, settings, self._time), others=answer, prove=models.prove
            )
            self._readiness.model_warmed = True
            self._mark("model_ready_seconds")

            instance = opened.enter_context(closing(Instance(settings.group_id, settings.instance_id)))
            source = connections.open_source(instance=instance.name, ownership=self._ownership)
            opened.callback(self._part_from, source)
            sink = opened.enter_context(
                closing(connections.open_sink(transactional_id=instance.transactional_id, source=source))
            )
            feed = opened.enter_context(closing(connections.open_feed(block_seconds=STATUS_SECONDS)))
            reporter = self._build_reporter(models, problem, instance, source, feed)
            delivery = SliceDelivery(
                sink,
                self._ownership,
                output_topic=settings.output_topic,
                dead_letter_topic=settings.dead_letter_topic,
                group_id=settings.group_id,
                clock=self._clock,
                committed=partial(self._slice_committed, reporter),
            )
            self._readiness.transactions_initialised = True
            attempts = Attempts(source, reach_records=(SLICES_AHEAD + 1) * settings.slice_records)
            cautious = CautiousAnswering(
                router.answer,
                partial(build_answering_in_child, settings),
                plan=lambda: models.plan,
                progressed=self._heartbeat.beat,
                found=attempts.acquit,
            )
            opened.enter_context(closing(cautious))
            pipeline = Pipeline(
                source,
                cautious.answer,
                delivery,
                self._ownership,
                attempts=attempts,
                breaker=CircuitBreaker(router.prove, changed=self._model_changed),
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
            # Also after an error: a scoring that hangs, or a client that does not close, must not keep us.
            opened.callback(stopping.expect_end)
            self._loop(pipeline, reporter, stopping, health.port)
            if not pipeline.drain(timeout_seconds=settings.drain_seconds):
                log.warning("not drained in time: what is under way will be read again", limit=settings.drain_seconds)
            is_complete = self._until is None or stopping.signal is None or pipeline.is_finished
            self._is_departure = settings.leave_on_stop or stopping.signal != signal.SIGTERM
        log.info("stopped")
        return is_complete

    def _open_administration(self, stopping: Stopping) -> Orders | None:
        token = self._settings.admin_token
        if token is None:
            return None

        def drain() -> None:
            if stopping.signal is None:  # a second signal would end the process at once
                os.kill(os.getpid(), signal.SIGTERM)

        orders = {
            "/pause": partial(self._set_reading, wanted=False),
            "/resume": partial(self._set_reading, wanted=True),
        }
        return Administration(token.get_secret_value(), {**orders, "/drain": drain}).order

    def _set_reading(self, *, wanted: bool) -> None:
        self._readiness.reading = wanted
        if self._pipeline is not None:
            self._pipeline.is_paused = not wanted

    def _loop(self, pipeline: Pipeline, reporter: Reporter, stopping: Stopping, health_port: int) -> None:
        finished = -1
        while stopping.signal is None and not pipeline.is_finished:
            if pipeline.is_idle or pipeline.finished != finished:
                # Not merely for a turn of this loop: a scoring that hangs must be seen, too.
                self._heartbeat.beat()
                finished = pipeline.finished
            pipeline.read(timeout_seconds=POLL_SECONDS)
            if self._ownership.suspended:
                doublings = min(pipeline.failures, MAX_DOUBLINGS)
                time.sleep(FIRST_BACKOFF_SECONDS * 2**doublings)
            if self._ownership.joined and not self._readiness.partitions_assigned:
                self._readiness.partitions_assigned = True
                self._tell_ready(health_port)
            reporter.report(ready=self._readiness.is_ready())

    def _open_models(self, opened: ExitStack) -> tuple[Models, Answering, Callable[[], str]]:
        """The models, how they are asked, and what tells why they are not what the registry asks for."""
        settings, build = self._settings, partial(build_model, self._settings, self._time)
        if settings.registry is None:
            models = open_plan(Plan(0, settings.require_bundle()), build, load=bundle_loader(settings))
            self._metrics.model_loaded(name=models.current.name, version=models.current.version)
            return models, models.answer, str
        shadow = Shadow(partial(build_shadow_in_child, settings), clock=self._clock, metrics=self._metrics)
        follower = open_follower(
            settings,
            build,
            metrics=self._metrics,
            followed=partial(setattr, self._readiness, "deployment_followed"),
            shadowed=shadow.follow,
        )
        for each in (shadow, follower):
            opened.enter_context(closing(each))
            each.start()
        return follower.models, shadow.beside(follower.models.answer), lambda: follower.problem or shadow.problem

    def _build_reporter(
        self, models: Models, problem: Callable[[], str], instance: Instance, source: GroupSource, feed: Feed
    ) -> Reporter:
        topic = self._settings.status_topic
        if topic:
            feed.require(topic)
        return Reporter(
            self._metrics,
            self._clock,
            group_id=self._settings.group_id,
            instance=instance.name,
            process=client_id(),
            models=models,
            problem=problem,
            source=source,
            publish=lambda key, value: feed.send(topic, value, key=key) if topic else None,
        )

    def _slice_committed(self, reporter: Reporter, records: Sequence[Record], answers: Sequence[Answer]) -> None:
        # A slice of which the brokers refuse something takes many transactions, each of which is progress.
        self._heartbeat.beat()
        reporter.slice_committed(records, answers)

    def _model_changed(self, at_fault: bool) -> None:  # noqa: FBT001 - a callback's shape
        self._readiness.model_warmed = not at_fault
        self._metrics.model_at_fault.set(at_fault)

    def _tell_ready(self, health_port: int) -> None:
        self._mark("joined_seconds")
        log.info("ready", health_port=health_port, **self._start_times)
        if self._ready_file is not None:
            facts = {"health_port": health_port, "process_id": os.getpid(), **self._start_times}
            write_file(self._ready_file, msgspec.json.encode(facts))

    def _part_from(self, source: GroupSource) -> None:
        """Closes the source: for good after Ctrl-C and at the end of a backfill, until a restart after SIGTERM."""
        if not self._is_departure:
            source.close()
            return
        try:
            source.leave()
        except TransportError as error:
            log.warning("still a member of the group until its session times out", reason=str(error))

    def _mark(self, name: str) -> None:
        """Notes the time since the process was started, its imports included."""
        self._start_times[name] = round(process_age_seconds(), 3)

    @contextmanager
    def _time(self, stage: str) -> Iterator[None]:
        with self._metrics.stage_seconds[stage].time():
            yield
        # A slice of a slow model may take long: its micro-batches are progress, too.
        self._heartbeat.beat()


def process_age_seconds() -> float:
    """Time since the kernel started this process."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started_seconds = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_seconds
