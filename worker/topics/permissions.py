"""Whether the user may do what a worker does: read the input, write the others, join the group, hold transactions."""

from collections.abc import Iterator

from worker.settings import Settings
from worker.topics.facts import Access, Identities, TopicFacts
from worker.topics.findings import Finding
from worker.topics.plan import Role
from worker.topics.tools import KafkaTools

NEEDED_OPERATIONS = {Role.INPUT: "READ"} | dict.fromkeys(set(Role) - {Role.INPUT}, "WRITE")
DENIAL = "an ACL that denies it wins over any that allows it"


class Permissions:
    """Judges for one user."""

    def __init__(self, settings: Settings, principal: str) -> None:
        """
        Args:
            settings: name the group, and the cluster in commands.
            principal: how the brokers call the user.
        """
        self._settings = settings
        self._tools = KafkaTools(settings)
        self._principal = principal

    def hidden_topic(self, role: Role, topic: str) -> Finding:
        """Says what a topic that may not be seen needs."""
        command = self._grant(NEEDED_OPERATIONS[role], "--topic", topic)
        message = f"{role.value}, if it exists: {self._principal} may not see it; {DENIAL}"
        return Finding("error", topic, message, command)

    def hidden_properties(self, topic: str) -> Finding:
        """Says that a topic's properties could not be judged."""
        return Finding("unknown", topic, f"its properties: {self._principal} may not describe them")

    def check_topic(self, role: Role, topic: str, facts: TopicFacts) -> Iterator[Finding]:
        """Compares what the broker lets us do with what the role needs."""
        needed = NEEDED_OPERATIONS[role]
        if facts.operations is None:
            yield Finding("unknown", topic, f"whether {self._principal} may {needed}: the broker does not tell")
        elif needed not in facts.operations:
            yield self._denied(topic, needed, self._grant(needed, "--topic", topic))

    def check_identities(self, identities: Identities) -> Iterator[Finding]:
        """Judges the group and the transactional ids."""
        group_id = self._settings.group_id
        group = ("--group", group_id)
        ids = ("--transactional-id", f"{group_id}.", "--resource-pattern-type", "prefixed")
        yield self._check_identity(identities.group, f"group {group_id}", "READ", group)
        yield self._check_identity(identities.transactions, f"transactional ids {group_id}.*", "WRITE", ids)

    def _check_identity(self, access: Access, subject: str, operation: str, resource: tuple[str, ...]) -> Finding:
        match access:
            case Access.ALLOWED:
                return Finding("ok", subject, f"{self._principal} may {operation}")
            case Access.DENIED:
                return self._denied(subject, operation, self._grant(operation, *resource))
            case Access.UNKNOWN:
                why = "it may not describe ACLs, or none speaks of it, as for a super user"
                return Finding("unknown", subject, f"whether {self._principal} may {operation}: {why}")

    def _denied(self, subject: str, operation: str, command: str) -> Finding:
        return Finding("error", subject, f"{self._principal} may not {operation}; {DENIAL}", command)

    def _grant(self, operation: str, *resource: str) -> str:
        return self._tools.grant(self._principal, operation.capitalize(), *resource)
