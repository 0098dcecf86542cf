import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from export.assets import MAX_TOKENS, SAFE_NAME, check_name
from export.errors import SavedModelError
from federated.config import list_presets, load_config, parse_overrides
from federated.errors import ConfigError

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("preset", list_presets())
def test_every_preset_of_the_package_is_valid(preset):
    assert load_config(preset).preset == preset


def test_the_presets_that_others_rely_on_exist():
    assert {"demo", "example", "reviews"} <= set(list_presets())


def test_flags_override_the_preset_and_leave_the_rest():
    before = load_config("reviews")
    after = load_config("reviews", {"training.rounds": 3, "seed": 9, "data.partition.clients": 7})
    assert (after.training.rounds, after.seed, after.data.partition.clients) == (3, 9, 7)
    assert after.data.partition.by == before.data.partition.by == "dirichlet"
    assert after.model == before.model


def test_an_unknown_preset_names_those_that_exist():
    with pytest.raises(ConfigError, match=r"'nope'.*demo, example, plays, private, reviews"):
        load_config("nope")


def test_a_preset_can_be_any_toml_file(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[training]\nrounds = 3\n")
    assert load_config(str(own)).training.rounds == 3


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("preset = 'demo'", "--preset"),
        ("[training]\nronuds = 3", "ronuds"),
        ("[training", "table declaration"),
        ("name = '\xff'", "utf-8"),
    ],
)
def test_a_preset_with_a_fault_is_refused_with_its_path_and_the_fault(tmp_path, content, named):
    broken = tmp_path / "broken.toml"
    broken.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=rf"{broken}.*{named}"):
        load_config(str(broken))


def test_a_section_about_privacy_needs_an_epsilon_from_somewhere(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("[privacy]\ndelta = 1e-5\n")
    with pytest.raises(ConfigError, match=r"own\.toml: \[privacy\] has no privacy\.epsilon"):
        load_config(str(own))
    assert load_config(str(own), {"privacy.epsilon": 2.0}).privacy.epsilon == 2
    assert load_config(str(own), {"privacy.epsilon": 0}).privacy.epsilon == 0


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml.*No such file"):
        load_config(str(tmp_path / "nowhere.toml"))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"trainin.rounds": 1}, "trainin"),
        ({"training.ronuds": 1}, "ronuds"),
        ({"training.rounds": 0}, "training.rounds"),
        ({"training.rounds": "many"}, "training.rounds"),
        ({"training.client_learning_rate": -1}, "training.client_learning_rate"),
        ({"model.encoder": "transformer"}, "model.encoder"),
        ({"data.heldout_fraction": 1.0}, "data.heldout_fraction"),
        ({"data.partition.alhpa": 1}, "alhpa"),
        ({"seed.x": 1}, "seed"),
        ({"training.rounds.x": 1}, "rounds is a value"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"preset": "example"}, "--preset"),
        ({"model": {"encoder": "lstm"}}, "model is a section"),
        ({"model": "lstm"}, "model is a section"),
        ({"model.name": "../elsewhere"}, "model.name"),
        ({"model.name": "two\nlines"}, "model.name"),
        ({"model.name": "name\n"}, "model.name"),
        ({"data.max_tokens": 10**9}, "data.max_tokens"),
        ({"data.clients": 10**9}, "data.clients"),
        ({"model.hidden_size": 10**9}, "model.hidden_size"),
        ({"data.partition.clients": 0}, "data.partition.clients"),
        ({"data.partition.alpha": 0.0}, "data.partition.alpha"),
        ({"data.partition.alpha": 1e-300}, "data.partition.alpha"),
        ({"data.partition.alpha": float("nan")}, "data.partition.alpha"),
        ({"data.partition.alpha": float("inf")}, "data.partition.alpha"),
        ({"training.ray_address": "head:6379"}, "training.ray_address and --engine ray belong"),
        ({"training.engine": "ray"}, "training.ray_address and --engine ray belong together"),
        ({"training.algorithm": "fedfoo"}, "training.algorithm"),
        ({"training.algorithm": "scaffold", "training.proximal": 0.1}, "training.proximal does nothing in scaffold"),
        ({"training.client_momentum": 0.9}, "training.client_momentum does nothing in fedavg.*mimelite"),
        ({"training.personal_pull": 0.1}, "training.personal_pull does nothing in fedavg.*ditto"),
        ({"training.server_momentum": 0.9}, "training.server_momentum does nothing with adam"),
        ({"training.server_optimizer": "sgd", "training.server_epsilon": 1e-3}, "training.server_epsilon"),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(overrides, named):
    with pytest.raises(ConfigError, match=named):
        load_config("demo", overrides)


@given(name=st.text(max_size=110) | st.from_regex(SAFE_NAME))
@example(name="")
@example(name=100 * "x")
@example(name=101 * "x")
def test_a_run_takes_exactly_the_names_that_an_export_takes(name):
    try:
        check_name(name)
    except SavedModelError:
        with pytest.raises(ConfigError, match=r"model\.name"):
            load_config("demo", {"model.name": name})
    else:
        assert load_config("demo", {"model.name": name}).model.name == name


def test_a_run_takes_the_lengths_that_an_export_takes():
    assert load_config("demo", {"data.max_tokens": MAX_TOKENS}).data.max_tokens == MAX_TOKENS
    with pytest.raises(ConfigError, match=r"data\.max_tokens"):
        load_config("demo", {"data.max_tokens": MAX_TOKENS + 1})


def test_assignments_are_toml_and_bare_words_are_strings():
    words = ["training.rounds=5", "model.encoder=gru", "model.bidirectional=true", "training.client_learning_rate=1e-1"]
    assert parse_overrides(words) == {
        "training.rounds": 5,
        "model.encoder": "gru",
        "model.bidirectional": True,
        "training.client_learning_rate": 0.1,
    }


def test_an_assignment_needs_an_equals_sign():
    with pytest.raises(ConfigError, match="write it as key=value"):
        parse_overrides(["training.rounds"])
