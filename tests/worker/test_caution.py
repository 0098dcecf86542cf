"""Suspects are scored in a real child process, which really dies."""

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from worker.answers.answering import Answer
from worker.errors import DecodeError, ScoringError, UnscorableError
from worker.ports import Record
from worker.stream.breaker import CircuitBreaker
from worker.stream.caution import CautiousAnswering
from worker.transport.deadline import Deadline

pytestmark = pytest.mark.fast

DEADLY = """
import os, signal, time
from worker.errors import DecodeError, ScoringError

def answer(records):
    [record] = records
    match record.value:
        case b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case b"exit":
            os._exit(3)
        case b"hang":
            print(os.getpid(), flush=True)
            signal.pause()
        case b"refuse":
            return [DecodeError("refused")]
        case b"model":
            raise ScoringError("the model failed")
    return [record.value + b" by %d" % os.getpid()]

class Model:
    answer = staticmethod(answer)

    def prove(self):
        pass

class SlowModel(Model):
    def answer(self, records):
        time.sleep(0.6)
        return answer(records)

    def prove(self):
        time.sleep(0.3)

class HangingModel(Model):
    def prove(self):
        signal.pause()

def build(plan):
    return Model()

def build_slow(plan):
    return SlowModel()

def build_hanging(plan):
    return HangingModel()

def build_nothing(plan):
    raise ScoringError("no model")

def build_if(path):
    if not path.exists():
        raise ScoringError("no model")
    return Model()
"""


def records(*values: bytes) -> list[Record]:
    return [Record("events", 0, offset, 0, None, value, []) for offset, value in enumerate(values)]


def answer_here(asked: Sequence[Record]) -> list[Answer]:
    return [b"here"] * len(asked)


def build_cautious(build: Callable[[Any], Any], *, found: Callable[[], None] = lambda: None) -> CautiousAnswering:
    return CautiousAnswering(answer_here, build, plan=lambda: 1, progressed=lambda: None, found=found)


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "deadly.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path)
    import deadly  # type: ignore[import-not-found]

    yield deadly
    monkeypatch.delitem(__import__("sys").modules, "deadly")


@pytest.fixture
def cautious(deadly: Any) -> Iterator[CautiousAnswering]:
    with closing(build_cautious(deadly.build)) as opened:
        yield opened
    assert multiprocessing.active_children() == []


def test_suspects_are_answered_by_one_child_and_in_order(cautious: CautiousAnswering) -> None:
    answers = cautious.answer(records(b"a", b"b"), suspect=True) + cautious.answer(records(b"c"), suspect=True)

    [child] = {bytes(answer).rpartition(b" by ")[2] for answer in answers}
    assert [bytes(answer)[:1] for answer in answers] == [b"a", b"b", b"c"]
    assert [int(child)] == [process.pid for process in multiprocessing.active_children()]


def test_others_are_answered_here_and_end_the_child_when_it_was_idle_for_long(
    cautious: CautiousAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    cautious.answer(records(b"a"), suspect=True)
    assert cautious.answer(records(b"a", b"b"), suspect=False) == [b"here", b"here"]
    assert len(multiprocessing.active_children()) == 1

    monkeypatch.setattr("worker.stream.caution.KEEP_SECONDS", 0)
    cautious.answer(records(b"a"), suspect=False)
    assert multiprocessing.active_children() == []


def test_a_child_with_an_older_plan_is_replaced(deadly: Any) -> None:
    plan = 1
    cautious = CautiousAnswering(
        answer_here, deadly.build, plan=lambda: plan, progressed=lambda: None, found=lambda: None
    )
    with closing(cautious):
        before = cautious.answer(records(b"a", b"a"), suspect=True)
        plan = 2
        after = cautious.answer(records(b"a"), suspect=True)

    assert before[0] == before[1] != after[0]


def test_finding_the_killer_is_told_and_so_is_every_step(deadly: Any) -> None:
    told: list[str] = []
    cautious = CautiousAnswering(
        answer_here,
        deadly.build,
        plan=lambda: 1,
        progressed=lambda: told.append("step"),
        found=lambda: told.append("found"),
    )
    with closing(cautious):
        cautious.answer(records(b"a", b"kill", b"b"), suspect=True)

    # One for each child that has loaded the model or has ended, and one for each time that a record is asked for.
    assert told == ["step"] * 7 + ["found"] + ["step"] * 2


@pytest.mark.parametrize(("value", "reason"), [(b"kill", "died of SIGKILL"), (b"exit", "ended with status 3")])
def test_a_record_that_kills_the_child_is_refused_and_its_neighbours_are_answered(
    cautious: CautiousAnswering, value: bytes, reason: str
) -> None:
    before, killer, after = cautious.answer(records(b"a", value, b"b"), suspect=True)

    assert isinstance(killer, UnscorableError)
    assert reason in str(killer)
    assert [bytes(before)[:1], bytes(after)[:1]] == [b"a", b"b"]


def test_a_record_on_which_the_child_hangs_is_refused(
    cautious: CautiousAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stream.caution.HANG_SECONDS", 0.2)

    [answer] = cautious.answer(records(b"hang"), suspect=True)

    assert isinstance(answer, UnscorableError)
    assert "no answer within 0.2 s" in str(answer)


def test_a_record_hangs_no_more_than_the_golden_records_do(deadly: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that starves everything takes long: nothing is wrong with the records."""
    monkeypatch.setattr("worker.stream.caution.HANG_SECONDS", 0.2)
    with closing(build_cautious(deadly.build_slow)) as cautious:
        [answer, killer] = cautious.answer(records(b"a", b"kill"), suspect=True)

    assert bytes(answer).startswith(b"a by ")
    assert "died of SIGKILL" in str(killer)


def test_a_model_that_hangs_on_its_golden_records_blames_no_record(
    deadly: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.stream.caution.GOLDEN_SECONDS", 0.2)
    with closing(build_cautious(deadly.build_hanging)) as cautious:
        with pytest.raises(ScoringError, match=r"golden records: no answer within 0\.2 s"):
            cautious.answer(records(b"a"), suspect=True)
        with pytest.raises(ScoringError, match="golden records"):
            cautious.prove()


def test_a_second_killer_in_a_slice_kills_no_worker_either(cautious: CautiousAnswering) -> None:
    answers = cautious.answer(records(b"kill", b"a", b"kill"), suspect=True)

    assert [isinstance(answer, UnscorableError) for answer in answers] == [True, False, True]


def test_a_refusal_comes_back_as_it_is(cautious: CautiousAnswering) -> None:
    [answer] = cautious.answer(records(b"refuse"), suspect=True)

    assert type(answer) is DecodeError
    assert str(answer) == "refused"


@pytest.mark.parametrize(("builder", "values"), [("build", [b"model"]), ("build_nothing", [b"a"])])
def test_a_model_that_fails_in_the_child_blames_no_record(deadly: Any, builder: str, values: list[bytes]) -> None:
    build: Callable[[], Any] = getattr(deadly, builder)
    with closing(build_cautious(build)) as cautious, pytest.raises(ScoringError, match="model"):
        cautious.answer(records(*values), suspect=True)
    assert multiprocessing.active_children() == []


def test_the_model_is_at_fault_until_a_child_can_load_it(deadly: Any, tmp_path: Path) -> None:
    """Otherwise the breaker would close after each golden record, and open again at the next suspect."""
    model = tmp_path / "model"
    changes: list[bool] = []
    cautious = CautiousAnswering(
        answer_here, deadly.build_if, plan=lambda: model, progressed=lambda: None, found=lambda: None
    )
    breaker = CircuitBreaker(cautious.prove, changed=changes.append, probe_seconds=0)
    with closing(cautious):
        cautious.prove()
        with pytest.raises(ScoringError, match="no model") as caught:
            cautious.answer(records(b"a"), suspect=True)
        breaker.trip(caught.value)
        breaker.probe(threading.Event())
        assert changes == [True]

        model.touch()
        breaker.probe(threading.Event())
        assert changes == [True, False]
        assert cautious.answer(records(b"a"), suspect=True) != []


def test_a_child_that_died_between_two_records_is_replaced(cautious: CautiousAnswering) -> None:
    cautious.answer(records(b"a"), suspect=True)
    [child] = multiprocessing.active_children()
    child.kill()
    child.join()

    [answer] = cautious.answer(records(b"b"), suspect=True)

    assert bytes(answer).startswith(b"b by ")


OWNER = """
import sys, threading
sys.path.insert(0, {path!r})
import deadly
from worker.stream.caution import CautiousAnswering
from worker.ports import Record

def main():
    cautious = CautiousAnswering(None, deadly.build, plan=lambda: 1, progressed=lambda: None, found=lambda: None)
    suspect = Record("events", 0, 0, 0, None, b"hang", [])
    threading.Thread(target=lambda: cautious.answer([suspect], suspect=True), daemon=True).start()
    threading.Event().wait()

if __name__ == "__main__":
    main()
"""


def test_a_child_that_hangs_dies_with_its_owner(deadly: Any, tmp_path: Path) -> None:
    owner_file = tmp_path / "owner.py"
    owner_file.write_text(OWNER.format(path=str(tmp_path)))
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen([sys.executable, owner_file], stdout=subprocess.PIPE, text=True, env=environment) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())  # told by the child, when it begins to hang
        owner.kill()
    deadline = Deadline(10)
    while Path(f"/proc/{child}").exists():
        assert deadline.remaining_seconds() > 0, "it outlives its owner"
