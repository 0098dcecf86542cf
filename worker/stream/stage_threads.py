"""The threads of a pipeline's stages, and what becomes of an error in one of them."""

import threading
from collections.abc import Callable


class StageThreads:
    """Repeats the turns of stages, each on a thread of its own, until it is ended or one of them fails."""

    def __init__(self, *, failed: Callable[[], None]) -> None:
        """
        Args:
            failed: called on the thread of a stage that failed: whoever waits for it would wait in vain.
        """
        self._failed = failed
        self._threads: list[threading.Thread] = []
        self._failure: BaseException | None = None
        self.ended = threading.Event()
        """Set when no turn is to begin any more."""

    def start(self, *stages: Callable[[], object]) -> None:
        """Begins to repeat `stages`; each takes its turn, and looks up now and then."""
        for stage in stages:
            name = getattr(stage, "__name__", None)
            thread = threading.Thread(target=self._run, args=(stage,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def has_failed(self) -> bool:
        """True if a stage failed."""
        return self._failure is not None

    def check(self) -> None:
        """Raises what a stage has failed with."""
        if self._failure is not None:
            raise self._failure

    def end(self) -> None:
        """Returns when every stage has ended the turn that it is in."""
        self.ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, stage: Callable[[], object]) -> None:
        try:
            while not self.ended.is_set():
                stage()
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is looked for
            self._failure = error
            self._failed()
