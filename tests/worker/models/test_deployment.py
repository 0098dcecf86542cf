import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import RegistryError
from worker.models import deployment as deployments
from worker.models.deployment import Deployment

pytestmark = pytest.mark.fast

VERSIONS = [character * 64 for character in "abcd"]
ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["promote", "canary", "shadow"]), st.sampled_from(VERSIONS)),
    st.tuples(st.sampled_from(["rollback", "canary off", "shadow off"]), st.none()),
)


def apply(before: Deployment | None, action: str, version: str | None) -> Deployment:
    match action:
        case "promote":
            return deployments.promote(before, "m", version)
        case "canary":
            return deployments.start_canary(before, "m", version, slots=500)
        case "shadow":
            return deployments.start_shadow(before, "m", version)
        case "rollback":
            return deployments.roll_back(before, "m")
        case "canary off":
            return deployments.stop_canary(before, "m")
        case _:
            return deployments.stop_shadow(before, "m")


@given(st.lists(ACTIONS, max_size=60))
def test_any_order_of_changes_leaves_a_sound_deployment(actions: list[tuple[str, str | None]]) -> None:
    deployment: Deployment | None = None
    stack: list[str] = []
    for action, version in actions:
        try:
            after = apply(deployment, action, version)
        except RegistryError:
            continue
        assert after.generation == (deployment.generation if deployment else 0) + 1
        if action == "promote":
            stack.append(version)
        elif action == "rollback":
            stack.pop()
        # The way back is a stack: as many rollbacks as promotions.
        assert [*after.trail, after.current] == stack[-deployments.TRAIL_VERSIONS - 1 :]
        assert after.current not in (after.canary and after.canary.version, after.shadow)
        last = after.history[-1]
        assert (last.generation, last.action, last.current) == (after.generation, action, after.current)
        assert len(after.history) <= deployments.HISTORY_CHANGES
        assert deployments.decode(deployments.encode(after), "here") == after
        deployment = after


def test_a_rollback_ends_the_canary_and_can_be_followed_by_another() -> None:
    a, b, c, d = VERSIONS
    deployment = deployments.promote(None, "m", a)
    deployment = deployments.promote(deployment, "m", b)
    deployment = deployments.promote(deployment, "m", c)
    deployment = deployments.start_canary(deployment, "m", d, slots=1)

    once = deployments.roll_back(deployment, "m")
    assert (once.current, once.canary) == (b, None)
    twice = deployments.roll_back(once, "m")
    assert twice.current == a
    with pytest.raises(RegistryError, match=r"m has no earlier version to go back to\. Promote one\."):
        deployments.roll_back(twice, "m")


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda d: deployments.promote(d, "m", VERSIONS[0]), "is current already"),
        (lambda d: deployments.start_canary(d, "m", VERSIONS[0], slots=1), "answers every record already"),
        (lambda d: deployments.start_shadow(d, "m", VERSIONS[0]), "nothing to compare it with"),
        (lambda d: deployments.stop_canary(d, "m"), "m has no canary"),
        (lambda d: deployments.stop_shadow(d, "m"), "m has no shadow"),
        (lambda _: deployments.start_canary(None, "m", VERSIONS[0], slots=1), "Promote one first"),
    ],
)
def test_a_change_without_sense_is_refused(action: object, message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        action(deployments.promote(None, "m", VERSIONS[0]))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a deployment file"),
        (deployments.encode(deployments.promote(None, "m", VERSIONS[0]))[:-20], "is not a deployment file"),
        (b"\xff", "is not a deployment file"),
        (b'{"schema_version": 2, "anything": 1}', "has schema version 2; this program reads version 1"),
        (b'{"schema_version": 1, "name": "m", "generation": 1}', "missing required field `current`"),
        (
            msgspec.json.encode({"schema_version": 1, "name": "m", "generation": 1, "current": "x", "extra": 1}),
            "unknown field `extra`",
        ),
        *(
            (
                msgspec.json.encode(
                    {
                        "schema_version": 1,
                        "name": "m",
                        "generation": 1,
                        "current": "x",
                        "canary": {"version": "y", "slots": slots},
                    }
                ),
                r"Expected `int` .*\$\.canary\.slots",
            )
            for slots in (-1, 0, deployments.SLOTS + 1, 20_000)
        ),
        *(
            (
                msgspec.json.encode({"schema_version": 1, "name": "m", "generation": generation, "current": "x"}),
                r"Expected `int` .*\$\.generation",
            )
            for generation in (-1, 0)
        ),
    ],
)
def test_what_is_no_deployment_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(RegistryError, match=message) as refused:
        deployments.decode(data, "bucket/m/deployment.json")
    assert "bucket/m/deployment.json" in str(refused.value)
