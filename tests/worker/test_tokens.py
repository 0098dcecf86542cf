"""Tokens from files and from an identity provider that answers over HTTP."""

import base64
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest

from worker.errors import AccessDeniedError, BrokerUnreachableError, LimelightError
from worker.settings import Settings
from worker.transport import tokens
from worker.transport.tokens import MARGIN_SECONDS, describe_token, token_source

pytestmark = pytest.mark.fast

SECRET = "s3cr=t/&"


def make_token(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(msgspec.json.encode(claims)).rstrip(b"=").decode()
    return f"eyJhbGciOiJub25lIn0.{payload}.c2lnbmF0dXJl"


class Provider(HTTPServer):
    """Gives out what the test wants, and remembers what it was asked."""

    status, answer = 200, b""
    raw = b""
    """Sent in place of a response."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, list[str]]]] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.requests.append((self.headers["Authorization"], parse_qs(form)))
        if self.server.raw:
            self.wfile.write(self.server.raw)
            return
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time, which stands still."""
    clock = SimpleNamespace(now=time.time())
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: clock.now))
    return clock


def ask(provider: Provider, path: str = "/token") -> Any:
    return token_source(
        Settings(
            security_protocol="SASL_SSL",
            sasl_mechanism="OAUTHBEARER",
            sasl_username="worker",
            sasl_password=SECRET,
            sasl_token_url=f"http://127.0.0.1:{provider.server_port}{path}",
            sasl_token_scope="kafka",
        )
    )


def test_a_token_says_whose_it_is_and_until_when() -> None:
    token = describe_token(make_token(sub="worker", exp=4_000_000_000), valid_seconds=60)
    assert (token.principal, token.expires) == ("worker", 4_000_000_000)


@pytest.mark.parametrize("text", ["opaque", "a.b.c", "a.e30.c", "a.bnVsbA.c"])
def test_a_token_that_says_nothing_is_good_for_as_long_as_was_told(text: str) -> None:
    token = describe_token(text, valid_seconds=60)
    assert token.principal == ""
    assert 50 < token.expires - time.time() <= 60


def test_the_provider_is_asked_with_id_and_secret_and_not_again_before_time(provider: Provider) -> None:
    provider.answer = msgspec.json.encode({"access_token": "opaque", "expires_in": 3600, "token_type": "Bearer"})
    source = ask(provider)

    assert source.token() == source.token()
    assert source.token().text == "opaque"
    credentials = base64.b64encode(b"worker:s3cr%3Dt/%26").decode()
    form = {"grant_type": ["client_credentials"], "scope": ["kafka"]}
    assert provider.requests == [(f"Basic {credentials}", form)]


@pytest.mark.parametrize(("lifetime_seconds", "renewal_seconds"), [(3600, 3540), (180, 120), (60, 40), (3, 2)])
def test_a_token_is_replaced_before_it_expires_and_not_at_each_login(
    provider: Provider, clock: SimpleNamespace, lifetime_seconds: float, renewal_seconds: float
) -> None:
    provider.answer = msgspec.json.encode({"access_token": "opaque", "expires_in": lifetime_seconds})
    source, begin = ask(provider), clock.now

    for passed_seconds, requests in ((0, 1), (0.9 * renewal_seconds, 1), (1.01 * renewal_seconds, 2)):
        clock.now = begin + passed_seconds
        source.token()
        assert len(provider.requests) == requests


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (401, b'{"error":"invalid_client"}', "answers 401"),
        # Whoever is behind the other address must not get the secret.
        (302, b"", "answers 302"),
        (200, b'{"token": "unexpected-token"}', "does not give one"),
        (200, b"unexpected-token", "does not give one"),
    ],
)
def test_a_refusal_names_the_settings_and_no_secret(provider: Provider, status: int, answer: bytes, said: str) -> None:
    provider.status, provider.answer = status, answer

    with pytest.raises(AccessDeniedError) as caught:
        ask(provider).token()

    assert said in str(caught.value)
    assert "LIMELIGHT_SASL_TOKEN_URL" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "unexpected-token" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("status", [500, 503, 429, "no answer", "refused"])
def test_an_outage_ends_nothing_and_the_token_at_hand_is_used_while_it_is_good(
    provider: Provider, clock: SimpleNamespace, status: Any
) -> None:
    provider.answer = msgspec.json.encode({"access_token": "opaque", "expires_in": 60})
    source = ask(provider)
    kept = source.token()
    if status == "refused":
        provider.shutdown()
        provider.server_close()
    elif status == "no answer":
        provider.raw = b"\r\n"
    else:
        provider.status = status

    clock.now = kept.expires - MARGIN_SECONDS - 1
    assert source.token() == kept
    # It is still good, but a broker that gets it a moment later would refuse it, which ends a worker.
    clock.now = kept.expires - MARGIN_SECONDS + 1
    with pytest.raises(BrokerUnreachableError, match="LIMELIGHT_SASL_TOKEN_URL") as caught:
        source.token()
    assert caught.value.__suppress_context__


def test_a_provider_that_has_changed_its_mind_is_believed(provider: Provider, clock: SimpleNamespace) -> None:
    provider.answer = msgspec.json.encode({"access_token": "opaque", "expires_in": 60})
    source = ask(provider)
    clock.now = source.token().expires - MARGIN_SECONDS - 1
    provider.status = 401

    with pytest.raises(AccessDeniedError, match="answers 401"):
        source.token()


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"unexpected-token\r\n\r\n", "/token"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n99\r\nunexpected-token", "/token"),
        (b'HTTP/1.0 200 OK\r\n\r\n{"access_token": "unexpected-token\xff"}', "/token"),
        (b"HTTP/1.0 200 OK\r\n\r\n", "/a token"),
    ],
    ids=["no status line", "cut short", "not UTF-8", "no path"],
)
def test_what_is_no_answer_is_one_line(provider: Provider, raw: bytes, path: str) -> None:
    provider.raw = raw

    with pytest.raises(LimelightError, match="does not give one") as caught:
        ask(provider, path).token()

    assert "unexpected-token" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_file_is_read_again_for_each_login(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(make_token(sub="worker", exp=4_000_000_000) + "\n")
    source: Any = token_source(
        Settings(security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER", sasl_token_file=file)
    )
    assert source.token().principal == "worker"

    file.write_text(make_token(sub="worker", exp=1_000_000_000))
    with pytest.raises(AccessDeniedError, match="expired"):
        source.token()
    file.unlink()
    with pytest.raises(AccessDeniedError, match="cannot be read"):
        source.token()
