"""Opens the model that the settings name: a bundle for good, or what a registry says from one moment to the next."""

from collections.abc import Callable
from functools import partial

from worker.answers.routing import Answering, TopicRouter
from worker.bundle import Bundle, load_bundle
from worker.clock import SystemClock
from worker.metrics import ModelMetrics
from worker.models.address import open_store
from worker.models.cache import BundleCache, Load
from worker.models.following import Follower
from worker.models.registry import Registry
from worker.models.remembered import memory_of
from worker.models.serving import LoadedModel, Models, Plan, Serving
from worker.settings import Settings

Build = Callable[[Bundle], LoadedModel]


def open_follower(
    settings: Settings,
    build: Build,
    *,
    metrics: ModelMetrics,
    followed: Callable[[bool], None],
    shadowed: Callable[[Plan | None], None],
) -> Follower:
    """Loads what the registry of the settings says, to be followed from there.

    Args:
        settings: effective settings.
        build: loads and proves a model.
        metrics: told about swaps and problems.
        followed: told whether what answers is what the registry asks for.
        shadowed: told which bundle should answer on the side, if any.

    Raises:
        LimelightError: nothing can answer.
    """
    address, name = settings.require_registry()
    registry, cache = _open_cache(settings)
    return Follower(
        registry,
        cache,
        build,
        memory=memory_of(settings.cache_directory(), address, name),
        poll_seconds=settings.poll_seconds,
        clock=SystemClock(),
        metrics=metrics,
        followed=followed,
        shadowed=shadowed,
    )


def open_plan(plan: Plan, build: Build, *, load: Load) -> Models:
    """Loads what `plan` says, for good.

    Args:
        plan: what answers.
        build: loads and proves a model.
        load: reads and verifies a bundle.

    Raises:
        LimelightError: a model of it cannot be used.
    """
    current = build(load(plan.current))
    canary = build(load(plan.canary)) if plan.canary else None
    return Models(Serving(plan.generation, current, canary, plan.slots))


def open_router(settings: Settings, build: Build, *, others: Answering, prove: Callable[[], None]) -> TopicRouter:
    """Loads the models of the settings' further topics.

    Args:
        settings: effective settings.
        build: loads and proves a model.
        others: answers the records of the input topic itself.
        prove: has the model behind `others` prove itself.

    Raises:
        LimelightError: a model cannot be used.
    """
    load = bundle_loader(settings)
    models = {topic: build(load(path)) for topic, path in settings.routes.items()}
    routes = {topic: model.answerer.answer for topic, model in models.items()}
    return TopicRouter(others, routes, proofs=[prove, *(model.prove for model in models.values())])


def find_bundle(settings: Settings) -> Bundle:
    """The bundle of the settings, or the version that is current in their registry.

    Raises:
        SettingsError: they name neither.
        BundleError: it cannot be used.
        RegistryError: the registry does not say, or cannot be reached.
    """
    if settings.registry is None:
        return bundle_loader(settings)(settings.require_bundle())
    registry, cache = _open_cache(settings)
    return cache.fetch(registry.deployment().current)


def _open_cache(settings: Settings) -> tuple[Registry, BundleCache]:
    address, name = settings.require_registry()
    registry = Registry(open_store(address), name)
    return registry, BundleCache(registry, settings.cache_directory() / "models", load=bundle_loader(settings))


def bundle_loader(settings: Settings) -> Load:
    """Reads and verifies bundles, and who signed them if the settings say whom to trust.

    Raises:
        BundleSignatureError: a key cannot be read.
    """
    if not settings.trusted_keys:
        return load_bundle
    from worker.signature import TrustedKeys  # noqa: PLC0415 - it loads cryptography: 9 MB

    return partial(load_bundle, keys=TrustedKeys(settings.trusted_keys))
