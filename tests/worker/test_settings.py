import os
import string
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import SettingsError
from worker.settings import MASK, PREFIX, Settings, mask_credentials, variable

pytestmark = pytest.mark.fast

SASL = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "reader"}
SECRET = "hunter2"


@pytest.fixture(autouse=True, scope="module")
def empty_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
            patch.delenv(name)
        yield


def refusal(**overrides: object) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(**overrides)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_defaults_are_valid_values() -> None:
    defaults = Settings.from_environment()
    spelled = {field: getattr(defaults, field) for field in Settings.model_fields}

    assert Settings.from_environment(**spelled) == defaults


def test_every_setting_is_described() -> None:
    assert [field for field, info in Settings.model_fields.items() if not info.description] == []


def test_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMELIGHT_INPUT_TOPIC", "reviews")
    monkeypatch.setenv("LIMELIGHT_SLICE_RECORDS", "7")

    settings = Settings.from_environment()

    assert (settings.input_topic, settings.slice_records) == ("reviews", 7)
    assert settings.model_fields_set == {"input_topic", "slice_records"}


def test_an_option_wins_over_the_environment_unless_it_was_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMELIGHT_INPUT_TOPIC", "from-environment")

    assert Settings.from_environment(input_topic="from-option").input_topic == "from-option"
    assert Settings.from_environment(input_topic=None).input_topic == "from-environment"


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("LIMELIGHT_HELTH_PORT", "LIMELIGHT_HEALTH_PORT"),
        ("LIMELIGHT_BOOTSTRAP_SERVER", "LIMELIGHT_BOOTSTRAP_SERVERS"),
        ("limelight_bundle", "LIMELIGHT_BUNDLE"),
    ],
)
def test_an_unknown_name_is_refused_with_the_closest_known_one(
    monkeypatch: pytest.MonkeyPatch, misspelt: str, meant: str
) -> None:
    monkeypatch.setenv(misspelt, "x")

    assert f"{misspelt} is not a setting. Did you mean {meant}?" in refusal()


def test_names_that_other_programs_read_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Settings.from_environment()
    monkeypatch.setenv("LIMELIGHTER", "x")

    assert Settings.from_environment() == before


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("health_port", "65536", "less than or equal to 65535"),
        ("health_port", "http", "valid integer"),
        ("start", "middle", "'earliest' or 'latest'"),
        ("slice_records", "0", "greater than or equal to 1"),
        ("drain_seconds", "nan", "less than or equal to 900"),
        ("drain_seconds", "0", "greater than 0"),
        ("session_timeout_seconds", "0.5", "greater than or equal to 1.5"),
        ("input_topic", "two words", "letters, digits, dots"),
        ("input_topic", "..", "letters, digits, dots"),
        ("input_topic", "", "letters, digits, dots"),
        ("bootstrap_servers", "localhost", "host:port"),
        ("bootstrap_servers", "a:1,,b:2", "host:port"),
        ("bootstrap_servers", "a:70000", "host:port"),
        ("fields", "text", "model_field=record_field"),
        ("fields", "text=a,text=b", "each model field once"),
        ("fields", '{"text"', "JSON"),
        ("ssl_ca_file", "/no/such/file.pem", "does not point to a file"),
    ],
)
def test_a_bad_value_is_refused_by_name_value_and_what_is_allowed(field: str, value: str, allowed: str) -> None:
    message = refusal(**{field: value})

    assert message.startswith(variable(field))
    assert value in message
    assert allowed in message


@pytest.mark.parametrize(("key", "shown"), [('a"b', "'a\"b'"), ("a\\b", r"'a\\b'"), ("\udcff", r"'\udcff'")])
def test_a_record_field_that_no_decoder_can_match_is_refused(key: str, shown: str) -> None:
    assert refusal(fields=f"text={key}").startswith(f"LIMELIGHT_FIELDS[text]={shown} is not allowed")


def test_all_bad_values_are_told_at_once() -> None:
    message = refusal(health_port="x", start="y")

    assert "LIMELIGHT_HEALTH_PORT" in message
    assert "LIMELIGHT_START" in message


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (SASL, ["LIMELIGHT_SASL_PASSWORD"]),
        ({"security_protocol": "SASL_PLAINTEXT"}, ["SASL_MECHANISM", "SASL_USERNAME", "SASL_PASSWORD"]),
        ({"sasl_username": "reader"}, ["LIMELIGHT_SASL_USERNAME", "SECURITY_PROTOCOL=PLAINTEXT"]),
        ({"ssl_ca_file": __file__}, ["LIMELIGHT_SSL_CA_FILE", "SECURITY_PROTOCOL=PLAINTEXT"]),
        ({"output_topic": "limelight.events"}, ["LIMELIGHT_INPUT_TOPIC", "LIMELIGHT_OUTPUT_TOPIC"]),
        ({"status_topic": "limelight.events.dlq"}, ["LIMELIGHT_DEAD_LETTER_TOPIC", "LIMELIGHT_STATUS_TOPIC"]),
        (
            {"delivery_deadline_seconds": 11, "transaction_timeout_seconds": 10},
            ["LIMELIGHT_DELIVERY_DEADLINE_SECONDS", "LIMELIGHT_TRANSACTION_TIMEOUT_SECONDS"],
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(overrides: dict[str, object], named: list[str]) -> None:
    message = refusal(**overrides)

    assert [name for name in named if name not in message] == []


def test_a_complete_login_is_accepted() -> None:
    settings = Settings.from_environment(**SASL, sasl_password=SECRET, ssl_ca_file=__file__)

    assert settings.sasl_password is not None
    assert settings.sasl_password.get_secret_value() == SECRET


@pytest.mark.parametrize("field", ["instance_id", "bundle", "sasl_username", "sasl_password", "ssl_ca_file"])
def test_an_empty_optional_value_is_an_unset_one(field: str) -> None:
    assert getattr(Settings.from_environment(**{field: ""}), field) is None


def test_the_status_topic_can_be_switched_off() -> None:
    assert Settings.from_environment(status_topic="").status_topic == ""


def test_a_secret_shows_in_no_message_and_no_representation() -> None:
    settings = Settings.from_environment(**SASL, sasl_password=SECRET)
    messages = [
        refusal(sasl_password=SECRET),
        refusal(**SASL, sasl_password=[SECRET]),
        refusal(bootstrap_servers=f"reader:{SECRET}@broker:9092"),
    ]

    assert SECRET not in repr(settings)
    assert [message for message in messages if SECRET in message] == []
    assert f"{MASK}@broker:9092" in messages[2]


def test_the_original_error_which_holds_the_values_is_not_chained() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(**SASL, sasl_password=[SECRET])

    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("user:secret@host:9092", f"{MASK}@host:9092"),
        ("https://user:secret@host/x", f"{MASK}@host/x"),
        ("a:1,user:p@ss@b:2", f"a:1,{MASK}@b:2"),
        ("s3://KEY:se,cret@bucket/models", f"{MASK}@bucket/models"),
        ("registry=s3://KEY:se@cr,et@bucket", f"registry={MASK}@bucket"),
        ("http://a:1/x,https://user:se,cret@b:2", f"http://a:1/x,{MASK}@b:2"),
        ("host:9092", "host:9092"),
        ("bundles/me@home", "bundles/me@home"),
    ],
)
def test_credentials_inside_a_value_are_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked


word = st.text(string.ascii_letters + string.digits + "_ é评", min_size=1).filter(lambda text: text == text.strip())


@given(fields=st.dictionaries(word, word))
def test_both_spellings_of_the_fields_mean_the_same(fields: dict[str, str]) -> None:
    pairs = ",".join(f"{name}={record_field}" for name, record_field in fields.items())
    json = "{" + ",".join(f'"{name}":"{record_field}"' for name, record_field in fields.items()) + "}"

    assert Settings.from_environment(fields=pairs).fields == fields
    assert Settings.from_environment(fields=json).fields == fields


def test_servers_may_be_spaced_and_may_be_ipv6() -> None:
    assert Settings.from_environment(bootstrap_servers="a:1, [::1]:2").bootstrap_servers == "a:1,[::1]:2"


def test_fields_that_are_not_mapped_keep_their_names() -> None:
    settings = Settings.from_environment(fields="text=review")

    assert settings.field_map(["text", "title"]) == {"text": "review", "title": "title"}


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"fields": "body=review"}, "body"),
        ({"fields": "text=title"}, "title"),
        ({"fields": "text=id"}, "id"),
        ({"id_field": "text"}, "text"),
        ({"id_field": "passthrough"}, "passthrough"),
        ({"fields": "text=passthrough"}, "passthrough"),
    ],
)
def test_a_field_map_that_the_model_cannot_use_is_refused(overrides: dict[str, object], named: str) -> None:
    settings = Settings.from_environment(**overrides)

    with pytest.raises(SettingsError, match=named):
        settings.field_map(["text", "title"])


def test_a_missing_bundle_is_asked_for_by_name() -> None:
    with pytest.raises(SettingsError, match="LIMELIGHT_BUNDLE is not set"):
        Settings.from_environment().require_bundle()


def test_a_bundle_and_a_registry_contradict_each_other() -> None:
    message = refusal(bundle="a/bundle", registry="s3://bucket/models", model_name="tiny")

    assert message == (
        "LIMELIGHT_BUNDLE and LIMELIGHT_REGISTRY are both set: this bundle, or what the registry says? "
        "Unset one of them."
    )


@pytest.mark.parametrize("given", [{"registry": "models"}, {"model_name": "tiny"}])
def test_a_registry_needs_the_name_of_a_model(given: dict[str, str]) -> None:
    assert "LIMELIGHT_REGISTRY and LIMELIGHT_MODEL_NAME belong together" in refusal(**given)


def test_downloads_are_kept_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert Settings().cache_directory() == Path("/home/me/.cache/limelight")

    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert Settings().cache_directory() == Path("/caches/limelight")
    assert Settings(cache_dir=Path("mine")).cache_directory() == Path("mine")
