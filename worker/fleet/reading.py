"""Whether an administrator wants records to be read, made true in every process."""

from collections.abc import Callable, Sequence
from http import HTTPStatus

import structlog

from worker.fleet.asking import Page, ask
from worker.fleet.member import Member

log = structlog.get_logger("worker")


class Reading:
    """The administrator's last word. It may be changed on any thread; the rest is the main thread's."""

    def __init__(self, token: str | None, *, ask: Callable[..., Page | None] = ask) -> None:
        """
        Args:
            token: the administrator's, which the processes ask for, too; None where nothing may be ordered.
            ask: gives a process an order.
        """
        self.is_wanted = True
        self._authorization = f"Bearer {token}"
        self._ask = ask
        self._known: dict[int, bool] = {}
        """Process -> what it does."""
        self._refused: dict[int, tuple[str, int]] = {}
        """Process -> the order that it did not take, and its answer."""

    def starting(self, number: int) -> bool:
        """Whether a process that is being started may read from its beginning."""
        self._known[number] = self.is_wanted
        return self._known[number]

    def tell(self, members: Sequence[Member]) -> None:
        """Orders what differs from what is wanted. One that does not take the order is told at the next call."""
        wanted = self.is_wanted
        order = "/resume" if wanted else "/pause"
        for member in members:
            if self._known.get(member.number) == wanted:
                continue
            answer = self._ask(member.host, order, method="POST", authorization=self._authorization)
            if answer is None:  # it is starting, or gone
                continue
            if answer.status == HTTPStatus.ACCEPTED:
                self._known[member.number] = wanted
                self._refused.pop(member.number, None)
            else:
                self._note_refusal(member.number, order, answer.status)

    def _note_refusal(self, number: int, order: str, status: int) -> None:
        """One line, however often it is asked again."""
        if self._refused.get(number) != (order, status):
            self._refused[number] = (order, status)
            log.error(
                "a process does not take an order: is its token another one?", number=number, order=order, status=status
            )
