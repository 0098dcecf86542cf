"""Secrets that stand in files, and logins that contradict themselves."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worker.errors import SettingsError
from worker.settings import PREFIX, Settings

pytestmark = pytest.mark.fast

SCRAM: dict[str, Any] = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_username": "reader",
    "sasl_password": "hunter2",
}
OAUTH: dict[str, Any] = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}
URL = "https://identity.example/token"


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)
    return


def refusal(**settings: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(**settings)
    assert caught.value.__cause__ is None
    return str(caught.value)


def password_of(settings: Settings) -> str:
    assert settings.sasl_password is not None
    return settings.sasl_password.get_secret_value()


@pytest.mark.parametrize("content", [b"hunter2", b"hunter2\n", b"hunter2\r\n"])
def test_a_password_is_read_from_a_file_without_the_editors_line_break(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    settings = Settings.from_environment(**{**SCRAM, "sasl_password": None}, sasl_password_file=file)

    assert password_of(settings) == "hunter2"


def test_other_white_space_belongs_to_the_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b" hunter2 \n\n")

    settings = Settings.from_environment(**{**SCRAM, "sasl_password": None}, sasl_password_file=file)

    assert password_of(settings) == " hunter2 \n"


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "is empty"), (b"\n", "is empty"), (b"\xff\xfe", "UTF-8"), (b"x" * 70_000, "too large")]
)
def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)

    message = refusal(**{**SCRAM, "sasl_password": None}, sasl_password_file=file)

    assert "LIMELIGHT_SASL_PASSWORD_FILE" in message
    assert said in message


def test_a_password_is_given_once(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("other")
    assert "LIMELIGHT_SASL_PASSWORD and LIMELIGHT_SASL_PASSWORD_FILE are both set" in refusal(
        **SCRAM, sasl_password_file=file
    )


def test_settings_are_read_from_a_mounted_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "LIMELIGHT_SASL_PASSWORD").write_text("from the directory\n")
    (tmp_path / "LIMELIGHT_SASL_USERNAME").write_text("mounted")
    (tmp_path / "..data").mkdir()
    monkeypatch.setenv("LIMELIGHT_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("LIMELIGHT_SASL_USERNAME", "from the environment")

    settings = Settings.from_environment(security_protocol="SASL_SSL", sasl_mechanism="PLAIN")

    assert (settings.sasl_username, password_of(settings)) == ("from the environment", "from the directory")


def test_a_mounted_file_that_is_no_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "LIMELIGHT_SASL_PASWORD").write_text("hunter2")
    monkeypatch.setenv("LIMELIGHT_SECRETS_DIR", str(tmp_path))

    assert "Did you mean LIMELIGHT_SASL_PASSWORD?" in refusal()


def test_a_directory_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMELIGHT_SECRETS_DIR", "/no/such/directory")

    assert "LIMELIGHT_SECRETS_DIR: /no/such/directory cannot be read" in refusal()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (OAUTH, "needs LIMELIGHT_SASL_TOKEN_FILE"),
        ({**OAUTH, "sasl_token_url": URL}, "needs LIMELIGHT_SASL_USERNAME, LIMELIGHT_SASL_PASSWORD"),
        ({**OAUTH, "sasl_token_file": __file__, "sasl_username": "me"}, "LIMELIGHT_SASL_USERNAME would not be used"),
        ({**SCRAM, "sasl_token_file": __file__}, "LIMELIGHT_SASL_TOKEN_FILE would not be used"),
        (
            {**SCRAM, "sasl_mechanism": "OAUTHBEARER", "sasl_token_url": "http://identity/token"},
            "give an https address",
        ),
        (
            {**SCRAM, "sasl_mechanism": "OAUTHBEARER", "sasl_token_url": "https://[identity/token"},
            "LIMELIGHT_SASL_TOKEN_URL is no address: give an https address",
        ),
        *(
            ({**SCRAM, "sasl_mechanism": "OAUTHBEARER", "sasl_token_url": url}, "LIMELIGHT_SASL_TOKEN_URL may hold no")
            for url in (
                "https://id:hunter2@identity.example/token",
                "https://hunter2@identity.example/token",
                f"{URL}?client_secret=hunter2",
                f"{URL}#hunter2",
            )
        ),
        ({**SCRAM, "sasl_mechanism": "OAUTHBEARER", "sasl_token_url": "https://id:hunter2/token"}, "an https address"),
        ({"security_protocol": "SSL", "ssl_key_file": __file__}, "belong together"),
        ({"security_protocol": "SSL", "ssl_key_password": "hunter2"}, "LIMELIGHT_SSL_KEY_PASSWORD needs"),
        ({"ssl_certificate_file": __file__, "ssl_key_file": __file__}, "would not be used with"),
    ],
)
def test_contradictions_are_refused(settings: dict[str, Any], said: str) -> None:
    message = refusal(**settings)

    assert said in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "settings",
    [
        {**OAUTH, "sasl_token_file": __file__},
        {**SCRAM, "sasl_mechanism": "OAUTHBEARER", "sasl_token_url": URL, "sasl_token_scope": "kafka"},
        {**SCRAM, "sasl_mechanism": "OAUTHBEARER", "sasl_token_url": "http://127.0.0.1:8080/token"},
        {**SCRAM, "ssl_certificate_file": __file__, "ssl_key_file": __file__, "ssl_key_password": "x"},
    ],
)
def test_complete_logins_are_accepted(settings: dict[str, Any]) -> None:
    shown = repr(Settings.from_environment(**settings))
    assert not re.search("hunter2|'x'", shown)


@pytest.mark.parametrize(
    "token", ["hunter2-\u8bc4-hunter2-hunter2", "hunter2\r\nhunter2-hunter2", " hunter2-hunter2-hunter2"]
)
def test_a_token_that_cannot_stand_in_a_header_is_refused(tmp_path: Path, token: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(token.encode() + b"\n")

    for message in (refusal(admin_token=token), refusal(admin_token_file=file)):
        assert message.startswith("LIMELIGHT_ADMIN_TOKEN=******** is not allowed: it stands in a header")
        assert "hunter2" not in message


def test_a_token_of_words_is_taken() -> None:
    assert Settings.from_environment(admin_token="correct horse battery").admin_token
