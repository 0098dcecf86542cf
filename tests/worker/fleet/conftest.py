from collections.abc import Callable

import pytest
from fleet.programs import program

from worker.fleet.member import Member


@pytest.fixture
def build_member() -> Callable[..., Member]:
    def build(text: str, *arguments: str, number: int = 0, host: str = "@nobody-listens-here") -> Member:
        return Member(number, program(text, *arguments), host=host)

    return build
