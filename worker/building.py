"""Builds what answers records: in this process, in the child that scores suspects, and in that of a shadow."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from worker.answers.answering import Answerer, Timer
from worker.answers.batching import caps_for
from worker.answers.caps_cache import CapsCache, Machine, processor_name
from worker.answers.golden import check_golden_records, check_latency
from worker.answers.limits import Limits
from worker.answers.predictions import Detail
from worker.answers.routing import TopicRouter
from worker.answers.tuning import DEFAULT, Tuner
from worker.bundle import Bundle
from worker.clock import SystemClock
from worker.errors import SettingsError
from worker.features import require_tokenizer
from worker.logs import configure
from worker.models.serving import LoadedModel, Plan
from worker.models.shadow import Comparison, Slice, compare_answers, run_when_idle
from worker.models.shadow_topic import ShadowTopic
from worker.opening import bundle_loader, open_plan, open_router
from worker.process.cpus import available_cpus
from worker.process.share import ALONE, Share
from worker.scorer import RUNTIME_VERSION, OnnxScorer
from worker.settings import Settings
from worker.transport.connections import Connections


def build_model(settings: Settings, timer: Timer, bundle: Bundle, *, share: Share = ALONE) -> LoadedModel:
    """Loads the bundle's model, checks it on its golden records and builds what answers records with it.

    Raises:
        BundleError: the model cannot be loaded, or answers differently than when it was exported.
        SettingsError: the settings name a field that the model does not read.
    """
    field = bundle.manifest.fields[0]
    require_tokenizer(bundle.path, field)
    record_field = settings.field_map([field.name])[field.name]
    lanes = share.threads(available_cpus())
    scorer = OnnxScorer(
        bundle,
        # The lanes keep the processors busy. Threads inside the model meet at barriers, and wait there for the one that
        # the broker or a client keeps from running.
        threads=1,
        provider=settings.execution_provider,
        session_options=settings.session_options,
    )
    lean = bundle.without_graphs()
    prove = partial(check_golden_records, lean, scorer)
    prove()
    answerer = Answerer(
        bundle.manifest,
        bundle.vocabulary(field),
        scorer,
        prove=prove,
        record_field=record_field,
        id_field=settings.id_field,
        skip_tombstones=settings.tombstones == "skip",
        tuner=build_tuner(settings, bundle, lanes=lanes),
        lanes=lanes,
        limits=Limits(
            settings.max_record_bytes, settings.max_record_headers, settings.max_nesting, settings.max_text_tokens
        ),
        detail=Detail(settings.abstain_below, settings.attention_weights, settings.token_text),
        clock=SystemClock(),
        timer=timer,
    )
    require_pace = partial(check_latency, lean, scorer, limit_seconds=settings.golden_limit_seconds)
    return LoadedModel(bundle.path, answerer, prove, require_pace)


def build_tuner(settings: Settings, bundle: Bundle, *, lanes: int) -> Tuner:
    """What says how large micro-batches may be: the settings, what was found here before, or what will be found."""
    if settings.batch_records or settings.batch_cells:
        usual = caps_for(settings.batch_records or DEFAULT.rows)
        return Tuner(usual._replace(cells=settings.batch_cells or usual.cells))
    try:
        directory = settings.cache_directory() / "batches"
    except SettingsError:  # nobody asked for a cache: without one it is found each time
        return Tuner()
    machine = Machine(processor_name(), lanes, settings.execution_provider, RUNTIME_VERSION)
    cache = CapsCache(directory, bundle.manifest.version, machine)
    return Tuner(cache.load(), found=cache.save)


def _untuned(settings: Settings) -> Settings:
    """For processes whose pace says nothing about the worker's."""
    return settings.model_copy(update={"batch_records": settings.batch_records or DEFAULT.rows})


def build_answering_in_child(settings: Settings, share: Share, plan: Plan) -> TopicRouter:
    """What answers in the child process that scores suspects: the same as in the parent."""
    configure(settings.log_format, settings.log_level)
    settings = _untuned(settings)
    build = partial(build_model, settings, lambda _: nullcontext(), share=share)
    models = open_plan(plan, build, load=bundle_loader(settings))
    return open_router(settings, build, others=models.answer, prove=models.prove)


def build_shadow_in_child(settings: Settings, share: Share, plan: Plan) -> Callable[[Slice], Comparison]:
    """What answers on the side, and compares, in the child process of a shadow."""
    run_when_idle()
    configure(settings.log_format, settings.log_level)
    settings = _untuned(settings)
    models = open_plan(
        plan, partial(build_model, settings, lambda _: nullcontext(), share=share), load=bundle_loader(settings)
    )
    topic = _open_shadow_topic(settings)

    def answer_and_compare(taken: Slice) -> Comparison:
        answers = models.answer(taken.records)
        unconfirmed = topic.publish(taken.records, answers) if topic else 0
        return compare_answers(taken.answers, answers)._replace(unconfirmed=unconfirmed)

    return answer_and_compare


def _open_shadow_topic(settings: Settings) -> ShadowTopic | None:
    if not settings.shadow_topic:
        return None
    sink = Connections(settings).open_outlet()
    return ShadowTopic(sink, settings.shadow_topic, group_id=settings.group_id, clock=SystemClock())
