"""What a group knows of one of its members, whichever client the member uses."""

from typing import Protocol

from worker.errors import FencedError


class Membership(Protocol):
    """A static member of a group: a name that outlives the processes that bear it, one at a time."""

    member_id: str
    """What the group calls the process that has the name now, as far as we know: us. Empty until we have joined."""

    def fenced(self, kind: str, name: str) -> FencedError:
        """The error to raise when another process took over an identity of ours. It says which, if that can be seen.

        Args:
            kind: of identity, ``transactional id`` or ``group instance``.
            name: the identity.
        """
        ...

    def remove(self) -> None:
        """Takes us out of the group, so that others get our partitions at once. Whoever took over our name stays.

        Raises:
            TransportError: the group did not take note; it will when the session times out.
        """
        ...
