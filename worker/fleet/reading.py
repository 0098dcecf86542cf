"""Whether an administrator wants records to be read, made true in every process."""

from collections.abc import Callable, Sequence

from worker.fleet.asking import Page, ask
from worker.fleet.member import Member


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

    def starting(self, number: int) -> bool:
        """Whether a process that is being started may read from its beginning."""
        self._known[number] = self.is_wanted
        return self._known[number]

    def tell(self, members: Sequence[Member]) -> None:
        """Orders what differs from what is wanted. One that does not answer is told at the next call."""
        wanted = self.is_wanted
        for member in members:
            if self._known.get(member.number) == wanted:
                continue
            order = "/resume" if wanted else "/pause"
            if self._ask(member.host, order, method="POST", authorization=self._authorization) is not None:
                self._known[member.number] = wanted
