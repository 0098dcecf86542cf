"""Children of a demo: what happens when one ends, and how a stage tells how far its child is."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.demo.crew import Crew, describe_failure
from deploy.local.demo.errors import ChildFailedError
from deploy.local.demo.stages import Stage
from deploy.local.processes import ChildProcess

pytestmark = pytest.mark.fast

WaitFor = Callable[[Callable[[], bool]], None]


def test_a_programs_own_error_is_shown_as_its_own_line() -> None:
    tail = "round 1/3\nerror: the disk is full. Make room.\n"
    assert describe_failure("train", 1, tail) == "train: the disk is full. Make room."


def test_what_follows_the_error_belongs_to_it() -> None:
    log = [f"INFO {number}" for number in range(120)]
    tail = "\n".join(["error: an earlier one", "starting", "error: node-1 ended. Its log:", *log])
    assert describe_failure("broker", 1, tail) == "\n".join(["broker: node-1 ended. Its log:", *log])


def test_without_one_the_end_of_its_output_is_shown() -> None:
    assert describe_failure("worker-1", -9, "started\nready") == (
        "worker-1 ended early with status -9. The end of its output:\nstarted\nready"
    )
    long = "\n".join(map(str, range(100)))
    assert describe_failure("worker-1", -9, long).splitlines()[1:] == [str(number) for number in range(80, 100)]
    assert "(none)" in describe_failure("worker-1", -9, "")


def test_a_job_may_end_well_but_not_fail(tmp_path: Path, wait_for: WaitFor) -> None:
    with Crew(tmp_path) as crew:
        version = crew.start_job("version", ["this", "--help"])
        wait_for(lambda: version.status is not None)
        crew.check()
        broken = crew.start_job("broken", ["no_such_module_at_all"])
        wait_for(lambda: broken.status is not None)
        with pytest.raises(ChildFailedError, match="broken ended early with status 1"):
            crew.check()


def test_a_service_may_not_end_before_it_is_stopped(tmp_path: Path, wait_for: WaitFor) -> None:
    with Crew(tmp_path) as crew:
        service = crew.start_service("zen", ["this"], {"PYTHONHASHSEED": "0"})
        wait_for(lambda: service.status is not None)
        with pytest.raises(ChildFailedError, match="zen ended early with status 0"):
            crew.check()
        crew.retire([service])
        crew.check()


def test_settings_of_the_users_own_workers_do_not_reach_a_child(
    tmp_path: Path, wait_for: WaitFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "show_settings.py").write_text(
        "import os\nprint(sorted(name for name in os.environ if name.startswith('LIMELIGHT_')))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("LIMELIGHT_FIELDS", "LIMELIGHT_GROUP_ID", "LIMELIGHT_CACHE_DIR"):
        monkeypatch.setenv(name, "the user's")
    with Crew(tmp_path) as crew:
        job = crew.start_job("job", ["show_settings"])
        service = crew.start_service("service", ["show_settings"], {"LIMELIGHT_GROUP_ID": "the demo's"})
        wait_for(lambda: job.status is not None and service.status is not None)
        assert job.tail() == "['LIMELIGHT_CACHE_DIR']"
        assert service.tail() == "['LIMELIGHT_CACHE_DIR', 'LIMELIGHT_GROUP_ID']"


def test_leaving_ends_all(tmp_path: Path) -> None:
    server = ["http.server", "--bind", "127.0.0.1", "0"]
    with Crew(tmp_path) as crew:
        children = [crew.start_job("job", server), crew.start_service("service", server)]
        assert [child.status for child in children] == [None, None]
    assert all(child.status is not None for child in children)


def test_a_stage_shows_the_last_line_that_tells_its_progress(tmp_path: Path, wait_for: WaitFor) -> None:
    script = "print('loading'); print('round 1/3: loss 2'); print('round 2/3: loss 1'); print('warning: x')"
    with ChildProcess([sys.executable, "-c", script], name="train", output=tmp_path / "log") as child:
        stage = Stage("training", "loading TensorFlow", child=child, progress="round ")
        wait_for(lambda: child.status is not None)
        assert stage.detail == "round 2/3: loss 1"
        assert Stage("training", "loading TensorFlow", child=child, progress="epoch ").detail == "loading TensorFlow"
        stage.end("3 rounds")
    assert (stage.detail, stage.is_done) == ("3 rounds", True)
    assert stage.seconds == stage.seconds
