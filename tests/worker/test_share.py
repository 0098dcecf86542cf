import pytest

from worker.process.share import ALONE, Share

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(("cpus", "processes", "threads"), [(8, 2, 4), (3, 2, 1), (1, 4, 1), (2, 2, 1)])
def test_the_processors_are_shared_and_everybody_gets_a_thread(cpus: int, processes: int, threads: int) -> None:
    assert {Share(process, processes).threads(cpus) for process in range(processes)} == {threads}


def test_alone_a_process_takes_them_all() -> None:
    assert ALONE.threads(6) == 6
