"""The models that answer the stream: a bundle for good, or what a registry says, with a shadow beside it."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial

from worker.answers.answering import Timer
from worker.building import build_model, build_shadow_in_child
from worker.clock import SystemClock
from worker.metrics import Metrics
from worker.models.serving import Models, Plan
from worker.models.shadow import Shadow
from worker.opening import Build, bundle_loader, open_follower, open_plan, open_router
from worker.process.health import Readiness
from worker.process.share import Share
from worker.settings import Settings
from worker.stream.caution import Answering

Opened = tuple[Models, Answering, Callable[[], str]]
"""The models, what answers with them, and what tells their problem."""


@dataclass(frozen=True)
class Served:
    """The models in use, and how they are asked."""

    models: Models
    """Those of the input topic itself."""
    answer: Answering
    prove: Callable[[], None]
    """Has every model prove itself, those of further topics included."""
    problem: Callable[[], str]
    """Tells why the models are not what the registry asks for; empty if they are."""


def open_served(
    opened: ExitStack, settings: Settings, share: Share, *, timer: Timer, metrics: Metrics, readiness: Readiness
) -> Served:
    """Loads and proves what answers.

    Args:
        opened: ends what follows the registry.
        settings: effective settings.
        share: this process's part of the worker.
        timer: times the stages.
        metrics: told what answers.
        readiness: told whether that is what the registry asks for.

    Raises:
        LimelightError: nothing can answer.
    """
    build = partial(build_model, settings, timer, share=share)
    models, answer, problem = (
        _open_bundle(settings, build, metrics)
        if settings.registry is None
        else _follow_registry(opened, settings, share, build, metrics=metrics, readiness=readiness)
    )
    router = open_router(settings, build, others=answer, prove=models.prove)
    return Served(models, router.answer, router.prove, problem)


def _open_bundle(settings: Settings, build: Build, metrics: Metrics) -> Opened:
    models = open_plan(Plan(0, settings.require_bundle()), build, load=bundle_loader(settings))
    metrics.models.loaded(name=models.current.name, version=models.current.version)
    return models, models.answer, lambda: ""


def _follow_registry(
    opened: ExitStack, settings: Settings, share: Share, build: Build, *, metrics: Metrics, readiness: Readiness
) -> Opened:
    shadow = Shadow(partial(build_shadow_in_child, settings, share), clock=SystemClock(), metrics=metrics.shadow)
    follower = open_follower(
        settings,
        build,
        metrics=metrics.models,
        followed=partial(setattr, readiness, "deployment_followed"),
        shadowed=shadow.follow,
    )
    for each in (shadow, follower):
        opened.enter_context(closing(each))
        each.start()
    models = follower.models
    return models, shadow.beside(models.answer), lambda: follower.problem or shadow.problem
