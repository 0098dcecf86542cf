"""Tokens for OAUTHBEARER logins: from a file that somebody keeps fresh, or from an identity provider.

A token is told apart by nothing but its text. Where that is a JSON Web Token (RFC 7519), its claims say whose it is and
until when; nobody but the broker can tell whether they are true.
"""

import base64
import binascii
import http.client
import ssl
import threading
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlencode

import msgspec

from worker.errors import AccessDeniedError, BrokerUnreachableError, LimelightError
from worker.settings import Settings, mask_credentials, variable
from worker.settings.credentials import read_secret

ANSWER_SECONDS = 5.0
ANSWER_BYTES = 256 * 1024
UNTOLD_SECONDS = 300.0
"""How long a token counts as good that does not say it."""
RENEWAL_SECONDS = 60.0
"""So long before a token expires the next one is asked for: an outage that is shorter is not noticed."""
RENEWAL_SHARE = 1 / 3
"""Of the lifetime of a token that lives shorter than three minutes: it would be asked for too often, or each time."""
MARGIN_SECONDS = 10.0
"""A token that is used has so long to reach the broker, which refuses an expired one for good."""
BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
"""Statuses of a refusal that passes, as those of 500 and more do."""


class Token(NamedTuple):
    """A bearer token."""

    text: str
    expires: float
    """Seconds since the epoch."""
    principal: str
    """Whom it claims to speak for; empty if it does not say."""


class TokenSource(Protocol):
    """Gives a token for each login; called on threads of the clients."""

    def token(self) -> Token:
        """
        Raises:
            AccessDeniedError: there is none.
            BrokerUnreachableError: there is none now.
        """
        ...


def token_source(settings: Settings) -> TokenSource | None:
    """Where tokens come from, None where nobody logs in with one."""
    if settings.sasl_token_file is not None:
        return TokenFile(settings)
    return None if settings.sasl_token_url is None else TokenEndpoint(settings)


class TokenFile:
    """Reads the file again for each login."""

    def __init__(self, settings: Settings) -> None:
        assert settings.sasl_token_file is not None
        self._path = settings.sasl_token_file

    def token(self) -> Token:
        """Implements `TokenSource`."""
        name = variable("sasl_token_file")
        try:
            text = read_secret(self._path, name)
        except ValueError as error:
            raise AccessDeniedError(f"{error}.") from None
        token = describe_token(text, valid_seconds=UNTOLD_SECONDS)
        if token.expires < time.time():
            ago = int(time.time() - token.expires)
            raise AccessDeniedError(f"{name}: the token in {self._path} expired {ago} s ago. Put a fresh one there.")
        return token


class TokenEndpoint:
    """Asks an identity provider, and keeps what it answers for as long as it is good.

    The grant is that of client credentials, RFC 6749 section 4.4.
    """

    def __init__(self, settings: Settings) -> None:
        assert settings.sasl_token_url is not None
        assert settings.sasl_password is not None
        self._url = settings.sasl_token_url
        user = f"{quote(settings.sasl_username or '')}:{quote(settings.sasl_password.get_secret_value())}"
        self._authorization = f"Basic {base64.b64encode(user.encode()).decode()}"
        scope = {"scope": settings.sasl_token_scope} if settings.sasl_token_scope else {}
        self._form = urlencode({"grant_type": "client_credentials", **scope}).encode()
        self._trust = ssl.create_default_context()
        if settings.ssl_ca_file is not None:
            self._trust.load_verify_locations(settings.ssl_ca_file)
        self._lock = threading.Lock()
        self._kept: Token | None = None
        self._renewal = 0.0
        """When the next one is asked for, in seconds since the epoch."""

    def token(self) -> Token:
        """Implements `TokenSource`."""
        with self._lock:
            now = time.time()
            if self._kept is None or self._renewal < now:
                try:
                    self._kept = self._ask()
                    self._renewal = self._kept.expires - _renewal_seconds(self._kept.expires - now)
                except BrokerUnreachableError:
                    if self._kept is None or self._kept.expires - MARGIN_SECONDS <= now:
                        raise
            return self._kept

    def _ask(self) -> Token:
        headers = {"Authorization": self._authorization, "Accept": "application/json"}
        request = urllib.request.Request(self._url, self._form, headers, method="POST")  # noqa: S310 - see credentials
        # No error is chained: what was answered may be a token.
        try:
            with _open_with(self._trust).open(request, timeout=ANSWER_SECONDS) as response:
                answer = msgspec.json.decode(response.read(ANSWER_BYTES), type=_Answer)
        except urllib.error.HTTPError as error:
            error.close()
            is_passing = error.code in BUSY or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR
            raise self._failure(f"answers {error.code} {error.reason}", is_passing=is_passing) from None
        except (OSError, http.client.HTTPException, ValueError, msgspec.DecodeError) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            lasting = (ssl.SSLCertVerificationError, http.client.InvalidURL)
            is_passing = isinstance(cause, (OSError, http.client.HTTPException)) and not isinstance(cause, lasting)
            what = f"does not give one ({type(cause).__name__})"
            raise self._failure(what, is_passing=is_passing) from None
        return describe_token(answer.access_token, valid_seconds=answer.expires_in)

    def _failure(self, what: str, *, is_passing: bool) -> LimelightError:
        names = ", ".join(variable(name) for name in ("sasl_token_url", "sasl_username", "sasl_password"))
        kind = BrokerUnreachableError if is_passing else AccessDeniedError
        return kind(f"no token to log in with: {mask_credentials(self._url)} {what}. Check {names}.")


def _renewal_seconds(lifetime_seconds: float) -> float:
    """How long before its end a token is replaced that lives for so long from now."""
    return min(RENEWAL_SECONDS, lifetime_seconds * RENEWAL_SHARE)


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: float = UNTOLD_SECONDS


class _Claims(msgspec.Struct):
    sub: str = ""
    exp: float | None = None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The client's secret goes to nobody but the address that was given."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _open_with(trust: ssl.SSLContext) -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust), _NoRedirect)


def describe_token(text: str, *, valid_seconds: float) -> Token:
    """What the token says of itself.

    Args:
        text: the token.
        valid_seconds: how long it is good if it does not say.
    """
    try:
        _, claims, _ = text.split(".")
        known = msgspec.json.decode(base64.urlsafe_b64decode(claims + "=="), type=_Claims)
    except (ValueError, binascii.Error):
        known = _Claims()
    return Token(text, known.exp or time.time() + valid_seconds, known.sub)
