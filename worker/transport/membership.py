"""What a group knows of one of its members, whichever client the member uses."""

from typing import Protocol

from worker.errors import DeliveryError, FencedError


class Membership(Protocol):
    """A static member of a group: a name that outlives the processes that bear it, one at a time."""

    member_id: str
    """What the group calls the process that has the name now, as far as we know: us. Empty until we have joined."""

    def attend(self) -> None:
        """To be called with every poll: tells whether this process has stood still for long."""
        ...

    def fenced(self, kind: str, name: str) -> FencedError:
        """The error to raise when another process took over an identity of ours. It says which, if that can be seen.

        Args:
            kind: of identity, ``transactional id`` or ``group instance``.
            name: the identity.
        """
        ...

    def fenced_or_expired(self, kind: str, name: str) -> FencedError | DeliveryError:
        """The same for a producer, which is called fenced, too, when the brokers have ended its transaction.

        Where we stood still for so long, and nobody else has our name, that is what happened. Then nothing was
        delivered, and it can be tried again.
        """
        ...

    def await_news(self, *, within_seconds: float) -> None:
        """To be called before a transactional producer is built, which drives out whoever has our transactional id.

        Where this process has stood still, somebody else may have it by now: then this waits until the group knows us
        again. Whoever polls sees to that, or is told that another process has our name.

        Raises:
            BrokerUnreachableError: it does not know us yet, or cannot be asked.
        """
        ...

    def require_name(self) -> None:
        """To be called before we join anew under our name, which would drive out whoever has it now.

        Raises:
            FencedError: another process has it.
        """
        ...

    def has_name(self, member_id: str) -> bool:
        """True if the group knows nobody else under our name: us, or nobody.

        Args:
            member_id: what the group may call us, besides what we know of.

        Raises:
            BrokerUnreachableError: it cannot be asked.
        """
        ...

    def remove(self) -> None:
        """Takes us out of the group, so that others get our partitions at once. Whoever took over our name stays.

        Raises:
            TransportError: the group did not take note; it will when the session times out.
        """
        ...
