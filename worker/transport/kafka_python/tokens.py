"""Gives kafka-python's logins their tokens."""

from kafka.net.sasl.oauth import AbstractTokenProvider

from worker.transport.tokens import TokenSource


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Asks a `TokenSource` for each login."""

    def __init__(self, source: TokenSource) -> None:
        self.source = source

    def token(self) -> str:
        """The token's text."""
        return self.source.token().text

    def extensions(self) -> dict[str, str]:
        """None: nothing in the settings would say which."""
        return {}
