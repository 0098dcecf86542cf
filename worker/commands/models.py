"""``python -m worker models ACTION``: what is in the registry, and which versions answer."""

import argparse
from collections.abc import Callable
from pathlib import Path

import msgspec

from worker.bundle import Manifest
from worker.errors import BundleError, SettingsError
from worker.models import deployment as deployments
from worker.models.address import open_store
from worker.models.deployment import SLOTS, Deployment
from worker.models.registry import Registry, describe, list_names
from worker.settings import Settings

SHORT_CHARACTERS = 12
"""Of a version in a table; such a prefix is taken wherever a version is asked for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the actions."""
    parser.add_argument("--registry", help="directory or URL; default: LIMELIGHT_REGISTRY")
    parser.add_argument("--name", help="of the model; default: LIMELIGHT_MODEL_NAME")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("list", help="print the versions of the model, and what each does")
    show = actions.add_parser("show", help="print what a bundle says about itself (JSON); default: the deployment")
    show.add_argument("version", nargs="?", help="or the beginning of one")
    publish = actions.add_parser("publish", help="copy a bundle into the registry; deploys nothing")
    publish.add_argument("bundle", type=Path, help="its directory")
    actions.add_parser("history", help="print the latest changes, the latest last")
    promote = _add_change(actions, "promote", "let a version answer")
    canary = _add_change(actions, "canary", "let a version answer a share of the keys, always the same keys")
    shadow = _add_change(actions, "shadow", "let a version answer on the side, and measure how often it disagrees")
    _add_change(actions, "rollback", "go back to what was current before; ends the canary")
    promote.add_argument("version", help="or the beginning of one")
    canary.add_argument("--percent", type=_percent, metavar="P", help="share of the keys, from 0.01 to 100")
    for either in (canary, shadow):
        chosen = either.add_mutually_exclusive_group(required=True)
        chosen.add_argument("version", nargs="?", help="or the beginning of one")
        chosen.add_argument("--off", action="store_true", help="end it")


def run(arguments: argparse.Namespace) -> int:
    """Looks, or makes one change.

    Raises:
        RegistryError: the registry cannot be used, or the change is refused.
    """
    settings = Settings.from_environment(registry=arguments.registry, model_name=arguments.name)
    address, name = settings.require_registry()
    registry = Registry(open_store(address), name)
    match arguments.action:
        case "list":
            _list(registry, list_names(open_store(address)))
        case "show":
            shown = registry.manifest(registry.resolve(arguments.version)) if arguments.version else None
            _print_json(shown or registry.deployment())
        case "history":
            _print_history(registry.deployment())
        case "publish":
            print(registry.publish(arguments.bundle))
        case _:
            change = _decide(registry, arguments)
            deployment = registry.change(change, expected_generation=arguments.if_generation)
            print(f"generation {deployment.generation}: {_summarise(deployment)}")
    return 0


def _add_change(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", action: str, summary: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(action, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument(
        "--if-generation", type=int, metavar="N", help="refuse if the deployment is not at generation N any more"
    )
    return parser


def _percent(text: str) -> int:
    """A share of the keys, in slots."""
    try:
        slots = round(float(text) * SLOTS / 100)
    except (ValueError, OverflowError):
        slots = 0
    if not 1 <= slots <= SLOTS:
        raise argparse.ArgumentTypeError(f"{text!r} is no percentage from 0.01 to 100")
    return slots


def _decide(registry: Registry, arguments: argparse.Namespace) -> Callable[[Deployment | None], Deployment]:
    name, action = registry.name, arguments.action
    if action == "rollback":
        return lambda before: deployments.roll_back(before, name)
    if getattr(arguments, "off", False):
        stop = deployments.stop_canary if action == "canary" else deployments.stop_shadow
        return lambda before: stop(before, name)
    if action == "canary" and arguments.percent is None:
        raise SettingsError("a canary needs its share of the keys: --percent 5, for example.")
    # Only what is there can be deployed.
    version = registry.resolve(arguments.version)
    if action == "promote":
        return lambda before: deployments.promote(before, name, version)
    if action == "shadow":
        return lambda before: deployments.start_shadow(before, name, version)
    return lambda before: deployments.start_canary(before, name, version, slots=arguments.percent)


def _list(registry: Registry, names: list[str]) -> None:
    versions = registry.versions()
    if not versions:
        print(f"no version of {registry.name} here; the registry holds: {', '.join(names) or 'nothing'}")
        return
    deployment = registry.find_deployment()
    does = describe(deployment) if deployment else {}
    readable, unreadable = [], []
    for version in versions:
        role = does.get(version, "-")
        try:
            created_at = registry.manifest(version).created_at
        except BundleError as error:  # the others can be used nevertheless
            unreadable.append(f"{_short(version)}  unreadable  {role}  {error}")
        else:
            readable.append((created_at, f"{_short(version)}  {created_at}  {role}"))
    for line in [*(line for _, line in sorted(readable)), *unreadable]:
        print(line)


def _print_history(deployment: Deployment) -> None:
    for change in deployment.history:
        canary = (
            f", canary {_short(change.canary.version)} {change.canary.slots * 100 / SLOTS:g} %" if change.canary else ""
        )
        shadow = f", shadow {_short(change.shadow)}" if change.shadow else ""
        print(
            f"{change.generation:>4}  {change.changed_at}  {change.action:<10}  "
            f"current {_short(change.current)}{canary}{shadow}"
        )


def _summarise(deployment: Deployment) -> str:
    return ", ".join(f"{role} {_short(version)}" for version, role in describe(deployment).items())


def _short(version: str) -> str:
    return version[:SHORT_CHARACTERS]


def _print_json(value: Manifest | Deployment) -> None:
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
