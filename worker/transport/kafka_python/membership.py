"""Looks at a group, and changes it, through the admin API. Serves both clients: librdkafka's has no such call."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import msgspec
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove
from kafka.errors import (
    CoordinatorNotAvailableError,
    GroupAuthorizationFailedError,
    GroupIdNotFoundError,
    KafkaError,
    NoError,
    UnknownMemberIdError,
)

from worker.errors import BrokerUnreachableError, DeliveryError, FencedError, LimelightError
from worker.messages import status_key
from worker.transport import terms
from worker.transport.deadline import Deadline
from worker.transport.kafka_python.client import connect, transport_error
from worker.transport.kafka_python.reader import KafkaReader
from worker.transport.terms import REQUEST_SECONDS, client_id

HOLDER_SECONDS = 5
"""Who takes over a transactional id joins the group only afterwards, and then tells its status once a second."""
LOOK_AGAIN_SECONDS = 0.1
RETURN_SECONDS = 30
"""So long after standing still, an error is taken for a consequence of it."""
STANDSTILL_SECONDS = 6
"""Brokers allow no shorter session by default. Who stops for less, and is replaced all the same, is told by the group,
but perhaps not before it has built a producer."""
NEWS_SECONDS = 5
"""Whoever polls joins anew meanwhile, or is told that another process has our name."""

log = logging.getLogger(__name__)


class _Author(msgspec.Struct):
    """What matters here of a `worker.messages.WorkerStatus`."""

    process: str = ""


class KafkaMembership:
    """Implements `worker.transport.membership.Membership`."""

    def __init__(
        self,
        client: Mapping[str, Any],
        *,
        client_id: str,
        group_id: str,
        instance: str,
        status_topic: str,
        transaction_timeout_seconds: float,
    ) -> None:
        """
        Args:
            client: connection properties, from `client_properties`.
            client_id: what the member calls itself to the brokers.
            group_id: the group.
            instance: static member id.
            status_topic: where the workers of the group tell who they are; may be empty.
            transaction_timeout_seconds: after so long the brokers end the transaction of somebody who stands still.
        """
        self._member_id = self._last_member_id = ""
        self._client = client
        self._client_id = client_id
        self._group_id = group_id
        self._instance = instance
        self._status_topic = status_topic
        self._transaction_timeout_seconds = transaction_timeout_seconds
        self._standstill_seconds = min(STANDSTILL_SECONDS, transaction_timeout_seconds)
        # Before the first poll nobody stands still.
        self._attended_seconds, self._returned_seconds = math.inf, -math.inf
        self._stood_seconds = 0.0
        """How long we had stood still at the last return, or at an earlier one that matters still."""
        self._must_ask = False
        """True from a standstill until the group was heard to know us."""

    @property
    def member_id(self) -> str:
        """Implements `worker.transport.membership.Membership`."""
        return self._member_id

    @member_id.setter
    def member_id(self, value: str) -> None:
        self._member_id, self._last_member_id = value, value or self._last_member_id

    def attend(self) -> None:
        """Implements `worker.transport.membership.Membership`."""
        now_seconds = time.monotonic()
        stood_seconds = now_seconds - self._attended_seconds
        if stood_seconds > self._standstill_seconds:
            earlier_seconds = self._stood_seconds if now_seconds - self._returned_seconds < RETURN_SECONDS else 0
            self._returned_seconds, self._stood_seconds = now_seconds, max(stood_seconds, earlier_seconds)
            self._must_ask = True
        self._attended_seconds = now_seconds

    def _stood_still(self, seconds: float) -> bool:
        """True if we did a moment ago. Every thread stands still together, but any may be the first to go on."""
        # In this order: whoever polls may note its return in between.
        if time.monotonic() - self._attended_seconds > seconds:
            return True
        return time.monotonic() - self._returned_seconds < RETURN_SECONDS and self._stood_seconds > seconds

    def await_news(self, *, within_seconds: float) -> None:
        """Implements `worker.transport.membership.Membership`."""
        # In this order: whoever polls may note its return in between.
        stands_still = time.monotonic() - self._attended_seconds > self._standstill_seconds
        if not stands_still and not self._must_ask:
            return
        deadline = Deadline(min(NEWS_SECONDS, within_seconds))
        reason = ""
        while (remaining_seconds := deadline.remaining_seconds()) > 0:
            try:
                holder = self._ask_for_holder(Deadline(remaining_seconds))
            except BrokerUnreachableError as error:
                reason = f": {error}"
            else:
                if holder is not None and holder["member_id"] == self.member_id:
                    self._must_ask = False
                    return
            time.sleep(deadline.within(LOOK_AGAIN_SECONDS))
        raise BrokerUnreachableError(f"this process stood still, and is not known to be in its group again{reason}")

    def fenced(self, kind: str, name: str) -> FencedError:
        """Implements `worker.transport.membership.Membership`."""
        return terms.fenced(kind, name, holder=self._look_for_holder())

    def fenced_or_expired(self, kind: str, name: str) -> FencedError | DeliveryError:
        """Implements `worker.transport.membership.Membership`."""
        if not self._stood_still(self._transaction_timeout_seconds):
            return self.fenced(kind, name)
        try:
            holder = self._find_holder()
            # Who is about to join again does not know yet what the group calls it.
            if holder is None and (not self.member_id or not self._is_replaced()):
                return DeliveryError("the brokers ended the transaction while this process stood still")
        except (KafkaError, LimelightError, msgspec.MsgspecError) as error:
            # No producer is built before the group knows us, so trying again drives nobody out.
            return DeliveryError(
                f"this process stood still, and cannot see who has the name {self._instance!r}: {error}"
            )
        return terms.fenced(kind, name, holder=holder)

    def require_name(self) -> None:
        """Implements `worker.transport.membership.Membership`. Who cannot be asked does not keep us from joining."""
        try:
            is_replaced = self._is_replaced()
        except (KafkaError, LimelightError) as error:
            log.warning("cannot see who has the name %r: %s", self._instance, error)
            return
        if is_replaced:
            raise self.fenced("group instance", self._instance)

    def has_name(self, member_id: str) -> bool:
        """Implements `worker.transport.membership.Membership`."""
        holder = self._ask_for_holder(Deadline(2 * REQUEST_SECONDS))
        return holder is None or holder["member_id"] in (self._last_member_id, member_id)

    def _ask_for_holder(self, deadline: Deadline) -> Mapping[str, str] | None:
        """
        Raises:
            BrokerUnreachableError: the group cannot be asked.
        """
        # A half for the way to the brokers, and a quarter for each of two answers.
        part_seconds = deadline.remaining_seconds() / 4
        way, timeout_ms = Deadline(2 * part_seconds), int(part_seconds * 1000) + 1
        try:
            with connect(KafkaAdminClient, self._client, deadline=way, request_timeout_ms=timeout_ms) as admin:
                return self._describe(admin)
        except KafkaError as error:
            raise transport_error(f"group {self._group_id!r} cannot be asked who has a name", error) from error

    def remove(self) -> None:
        """Implements `worker.transport.membership.Membership`."""
        if not self._last_member_id:
            return
        # With both ids: by its name alone, a successor would be removed as well.
        member = MemberToRemove(self._last_member_id, self._instance, reason="the worker stops for good")
        try:
            with self._open_admin() as admin:
                [outcome] = admin.remove_group_members(self._group_id, [member]).values()
            if outcome not in (NoError, UnknownMemberIdError):
                raise outcome
        except KafkaError as error:
            raise transport_error(f"member {self._instance!r} cannot leave group {self._group_id!r}", error) from error

    def _is_replaced(self) -> bool:
        with self._open_admin() as admin:
            holder = self._describe(admin)
        return holder is not None and holder["member_id"] != self.member_id

    def _look_for_holder(self) -> str | None:
        try:
            return self._find_holder()
        except (KafkaError, LimelightError, msgspec.MsgspecError) as error:
            return f"somebody who cannot be looked up: {error}"

    def _find_holder(self) -> str | None:
        deadline = Deadline(HOLDER_SECONDS)
        with ExitStack() as opened:
            ways: list[Callable[[], str | None]] = [partial(self._ask_group, opened.enter_context(self._open_admin()))]
            if self._status_topic:
                reader = KafkaReader(self._client, topic=self._status_topic, begin="end")
                ways.append(partial(self._read_statuses, opened.enter_context(closing(reader))))
            failure, has_answered = None, False
            while deadline.remaining_seconds():
                for ask in ways:
                    try:
                        if holder := ask():
                            return holder
                    except KafkaError as error:
                        failure = error  # a coordinator that moves is soon there again
                    else:
                        has_answered = True
                time.sleep(LOOK_AGAIN_SECONDS)
        if failure is not None and not has_answered:
            raise failure
        return None

    def _ask_group(self, admin: Any) -> str | None:
        # Who takes a name over while its session lasts inherits what the broker has noted of the first.
        holder = self._describe(admin)
        return None if holder is None or holder["client_id"] == self._client_id else _name_of(holder)

    def _describe(self, admin: Any) -> Mapping[str, str] | None:
        """The member that has our name.

        Raises:
            KafkaError: the group cannot be described now.
        """
        described = admin.describe_groups([self._group_id])[self._group_id]
        if described["error"]:
            raise_described(described["error"])
        members = described["members"]
        return next((member for member in members if member["group_instance_id"] == self._instance), None)

    def _read_statuses(self, reader: KafkaReader) -> str | None:
        for record in reader.poll():
            if record.key == status_key(self._group_id, self._instance):
                process = msgspec.json.decode(record.value or b"{}", type=_Author).process
                if process not in ("", client_id()):
                    return process
        return None

    def _open_admin(self) -> Any:
        return connect(KafkaAdminClient, self._client, bootstrap_timeout_ms=REQUEST_SECONDS * 1000)


def _name_of(member: Mapping[str, str]) -> str:
    return f"{member['client_id']} at {member['client_host'].removeprefix('/')}"


def raise_described(text: str) -> None:
    """Raises the error that the client gives as a text; none for a group that is not there: nobody has a name in it."""
    if text.startswith(f"[Error {GroupAuthorizationFailedError.errno}]"):
        raise GroupAuthorizationFailedError(text)
    if not text.startswith(f"[Error {GroupIdNotFoundError.errno}]"):
        raise CoordinatorNotAvailableError(text)
