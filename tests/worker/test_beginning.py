from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.beginning import parse_begin

pytestmark = pytest.mark.fast

NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize("text", ["beginning", "end"])
def test_the_ends_stay_what_they_are(text: str) -> None:
    assert parse_begin(text, now_ms=NOW_MS) == text


@pytest.mark.parametrize(("text", "ago_seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800), ("0s", 0)])
def test_a_while_ago_counts_from_now(text: str, ago_seconds: int) -> None:
    assert parse_begin(text, now_ms=NOW_MS) == NOW_MS - ago_seconds * 1000


def test_longer_ago_than_time_itself_is_the_first_moment() -> None:
    assert parse_begin("999999999d", now_ms=NOW_MS) == 0


@given(st.integers(0, 4_000_000_000_000), st.sampled_from(["+00:00", "Z"]))
def test_a_time_with_a_zone_is_that_moment(moment_ms: int, zone: str) -> None:
    text = datetime.fromtimestamp(moment_ms / 1000, tz=UTC).isoformat(timespec="milliseconds").replace("+00:00", zone)
    assert parse_begin(text, now_ms=NOW_MS) == moment_ms


def test_a_time_without_a_zone_is_local() -> None:
    local = datetime(2026, 11, 22, 20, 15).astimezone()
    assert parse_begin("2026-11-22T20:15", now_ms=NOW_MS) == local.timestamp() * 1000


@pytest.mark.parametrize(
    "text", ["", "start", "15", "15 m", "-1h", "1.5h", "2026-13-01", "1969-12-31T00:00Z", "0001-01-01T00:00"]
)
def test_anything_else_is_refused_with_what_would_do(text: str) -> None:
    with pytest.raises(ValueError, match=r"give beginning, end, a time since 1970 such as .*, or how long ago"):
        parse_begin(text, now_ms=NOW_MS)
