"""Looks at a group, and changes it, through the admin API. Serves both clients: librdkafka's has no such call."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import msgspec
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove
from kafka.errors import KafkaError, NoError, UnknownMemberIdError

from worker.errors import FencedError, LimelightError
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.kafka_python.client import connect, transport_error
from worker.transport.kafka_python.reader import KafkaReader
from worker.transport.terms import REQUEST_SECONDS, client_id

HOLDER_SECONDS = 5
"""Who takes over a transactional id joins the group only afterwards, and then tells its status once a second."""
LOOK_AGAIN_SECONDS = 0.1


class _Author(msgspec.Struct):
    """What matters here of a `worker.messages.WorkerStatus`."""

    process: str = ""


class KafkaMembership:
    """Implements `worker.transport.membership.Membership`."""

    def __init__(self, client: Mapping[str, Any], *, group_id: str, instance: str, status_topic: str) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            group_id: the group.
            instance: static member id.
            status_topic: where the workers of the group tell who they are; may be empty.
        """
        self.member_id = ""
        self._client = client
        self._group_id = group_id
        self._instance = instance
        self._status_topic = status_topic

    def fenced(self, kind: str, name: str) -> FencedError:
        """Implements `worker.transport.membership.Membership`."""
        try:
            return terms.fenced(kind, name, holder=self._find_holder())
        except (KafkaError, LimelightError, msgspec.MsgspecError) as error:
            return terms.fenced(kind, name, holder=f"somebody who cannot be looked up: {error}")

    def remove(self) -> None:
        """Implements `worker.transport.membership.Membership`."""
        if not self.member_id:
            return
        # With both ids: by its name alone, a successor would be removed as well.
        member = MemberToRemove(self.member_id, self._instance, reason="the worker stops for good")
        try:
            with self._open_admin() as admin:
                [outcome] = admin.remove_group_members(self._group_id, [member]).values()
            if outcome not in (NoError, UnknownMemberIdError):
                raise outcome
        except KafkaError as error:
            raise transport_error(f"member {self._instance!r} cannot leave group {self._group_id!r}", error) from error

    def _find_holder(self) -> str | None:
        deadline = Deadline(HOLDER_SECONDS)
        with ExitStack() as opened:
            ways: list[Callable[[], str | None]] = [partial(self._ask_group, opened.enter_context(self._open_admin()))]
            if self._status_topic:
                reader = KafkaReader(self._client, topic=self._status_topic, begin="end")
                ways.append(partial(self._read_statuses, opened.enter_context(closing(reader))))
            while deadline.remaining_seconds():
                for ask in ways:
                    if holder := ask():
                        return holder
                time.sleep(LOOK_AGAIN_SECONDS)
        return None

    def _ask_group(self, admin: Any) -> str | None:
        for member in admin.describe_groups([self._group_id])[self._group_id]["members"]:
            # Who takes a name over while its session lasts inherits what the broker has noted of the first.
            is_ours = member["client_id"] == self._client["client_id"]
            if member["group_instance_id"] == self._instance and not is_ours:
                return f"{member['client_id']} at {member['client_host'].removeprefix('/')}"
        return None

    def _read_statuses(self, reader: KafkaReader) -> str | None:
        for record in reader.poll():
            if record.key == self._instance.encode():
                process = msgspec.json.decode(record.value or b"{}", type=_Author).process
                if process not in ("", client_id()):
                    return process
        return None

    def _open_admin(self) -> Any:
        return connect(KafkaAdminClient, self._client, bootstrap_timeout_ms=REQUEST_SECONDS * 1000)
