"""What a client must be allowed to do, and what to say when it is not.

Each client library says that something was refused, in words of its own; who was refused what, on what, stands here.
"""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from worker.errors import AccessDeniedError

Kind = Literal["topic", "group", "transactional id", "cluster"]


class Rights(NamedTuple):
    """The rights that one client needs."""

    principal: Callable[[], str]
    """Tells how the brokers call us, as far as we know; asked when there is something to tell."""
    operation: str
    """On topics: READ or WRITE."""
    topics: tuple[str, ...] = ()
    """Those that are meant where the refusal names none."""
    group_id: str = ""
    transactional_id: str = ""

    def denial(self, kind: Kind, *, topics: Iterable[str] = ()) -> AccessDeniedError:
        """The error to raise for a refusal.

        Args:
            kind: what access was refused to.
            topics: which of them, if the refusal names them.
        """
        operation, names = {
            "topic": (self.operation, sorted(set(topics)) or list(self.topics)),
            "group": ("READ", [self.group_id]),
            "transactional id": ("WRITE", [self.transactional_id]),
            "cluster": ("IDEMPOTENT_WRITE", []),
        }[kind]
        resource = f"{kind} {', '.join(map(repr, names))}" if names else f"the {kind}"
        return AccessDeniedError(
            f"{self.principal()} may not {operation} {resource}: no ACL allows it, or one denies it. "
            "`python -m worker topics check` prints the command that grants it."
        )
