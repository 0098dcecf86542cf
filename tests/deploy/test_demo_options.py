"""The command line of the demo: defaults, and wrong usage that is refused before anything starts."""

from pathlib import Path

import pytest

from deploy.local.__main__ import main
from deploy.local.commands import demo
from deploy.local.demo.errors import DemoError
from deploy.local.demo.options import LIVE_RATE, ONCE_RATE, ONCE_RECORDS, LabelledFile, Options

pytestmark = pytest.mark.fast

DATA = LabelledFile(Path("reviews.csv"), "review", "label")


def test_once_has_an_end_and_the_live_demo_has_none() -> None:
    assert (Options(once=True).records, Options(once=True).rate) == (ONCE_RECORDS, ONCE_RATE)
    assert (Options().records, Options().rate) == (None, LIVE_RATE)


def test_data_of_ones_own_is_streamed_as_far_as_it_goes() -> None:
    assert Options(once=True, data=DATA).records is None
    assert Options(once=True, data=DATA, given_records=7).records == 7


def test_what_was_given_counts() -> None:
    options = Options(given_records=10, given_rate=2.5)
    assert (options.records, options.rate) == (10, 2.5)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--data", "reviews.csv"], "--data needs --text-field and --label-field"),
        (["--data", "reviews.csv", "--label-field", "label"], "--data needs --text-field"),
        (["--text-field", "review"], "--text-field describes a file, but there is no --data"),
        (["--rounds", "2", "--bundle", "b"], "--rounds is for training, which --bundle skips"),
        (["--json", "summary.json"], "--json needs --once"),
        (["--once", "--json", "no/such/directory/summary.json"], "there is no directory no/such/directory"),
        (["--once", "--json", "."], ". is a directory; give a file in it"),
        (["--svg", "."], ". is a directory; give a file in it"),
        (["--svg", "/proc/view.svg"], "/proc cannot be written: "),
        (["--bootstrap-servers", ""], "'' is not host:port; several are separated by commas"),
        (["--bootstrap-servers", "a:b"], "'a:b' is not host:port"),
        (["--bootstrap-servers", "a:1,b"], "'b' is not host:port"),
        (["--bootstrap-servers", "a:65536"], "'a:65536' is not host:port"),
        (["--bootstrap-servers", ":9092"], "':9092' is not host:port"),
        (["--workers", "0"], "'0' is not a positive whole number up to 32"),
        (["--workers", "33"], "'33' is not a positive whole number up to 32"),
        (["--records", "-1"], "'-1' is not a positive whole number"),
        (["--records", "many"], "'many' is not a positive whole number"),
        (["--records", "1.5"], "'1.5' is not a positive whole number"),
        (["--rate", ""], "'' is not a positive number"),
        (["--rate", "inf"], "'inf' is not a positive number"),
        (["--rate", "nan"], "'nan' is not a positive number"),
        (["--speed", "9"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_refused(words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["demo", *words])
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("given", ["localhost:9092", "[::1]:9092", "kafka-1.example:1, kafka-2.example:65535"])
def test_addresses_of_brokers_are_taken(given: str) -> None:
    assert demo._servers(given) == given.replace(" ", "")


def test_help_names_every_option_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for option in ("--once", "--records", "--rate", "--workers", "--bootstrap-servers", "--bundle", "--data"):
        assert option in text
    assert f"{ONCE_RECORDS} with --once" in text
    assert f"{ONCE_RATE:.0f} with --once" in text


def test_what_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=f"{tmp_path} cannot be written"):
        demo._write(tmp_path, b"a directory stands in the way")
