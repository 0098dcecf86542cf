"""What a run has spent, on disk before it is spent.

A round goes in this order, and only the first step can refuse it:

1. Before anything else, `Ledger.charge` looks whether the round fits the budget, and writes its charge: fsync, rename,
   fsync.
2. The round's noise is drawn, and the noisy sum is released to the server's step.
3. The checkpoint is written.

A crash between 1 and 3 leaves a charge for a round that the checkpoint does not have. The resumed run repeats that
round with the same cohort and, because it comes from the same key, the same noise: what it releases is what was
released, or would have been. So a round is charged once, and nothing is ever given back.

That holds only as long as the clients' updates are the same too, bit for bit: two releases of other updates with one
noise differ by what was sent. So the ledger names the key and what decides the updates (`Origin`), and a run of which
any of it has changed is refused. The promise, with its noise, is the one that was written when the run began.

What `Origin` does not see must be left as it was by whoever resumes a run: flags in the environment (``XLA_FLAGS``,
``TF_*``), and the code of a checkout that is installed to be edited, whose version stays the same. The nodes of a Ray
cluster are taken to be of one kind.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from federated.errors import BudgetError, PrivacyError
from federated.privacy.keys import NoiseKey
from federated.privacy.plan import PrivacyPlan
from worker.files import write_file


class Origin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What decides the clients' updates, bit for bit, but for what the module names."""

    run: str = ""
    """Digest of ``run.json``: the run's name and its configuration."""
    store: str = ""
    """Digest of the client store."""
    environment: dict[str, str] = {}
    """Processor and versions of the libraries."""

    def list_changes(self, now: "Origin") -> list[str]:
        """Names what is another one in `now`."""
        found = {
            "run.json": (self.run, now.run),
            "the client store": (self.store, now.store),
            **{
                name: (self.environment.get(name), now.environment.get(name))
                for name in self.environment | now.environment
            },
        }
        return [name for name, (before, after) in found.items() if before != after]


UNBOUND = Origin()
"""Of what ends with its process, and is never resumed: an audit, for example."""


class LedgerFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file's content."""

    plan: PrivacyPlan
    key_fingerprint: str
    origin: Origin
    charged_rounds: int


class Ledger:
    """The spending of one run. Use `begin_ledger` and `open_ledger`."""

    def __init__(self, path: Path, content: LedgerFile) -> None:
        self._path = path
        self._content = content

    @property
    def plan(self) -> PrivacyPlan:
        """The promise as it was made when the run began."""
        return self._content.plan

    @property
    def charged_rounds(self) -> int:
        """Rounds whose noise may have been drawn."""
        return self._content.charged_rounds

    @property
    def spent(self) -> float:
        """Epsilon, at the plan's delta."""
        return self._content.plan.curve[self.charged_rounds]

    def charge(self, number: int) -> None:
        """Makes the charge of round `number` durable; afterwards its noise may be drawn.

        Raises:
            BudgetError: the round would pass the budget. It must not be started.
            PrivacyError: an earlier round was not charged, or the ledger cannot be written.
        """
        plan = self._content.plan
        if number <= self.charged_rounds:
            return
        if number > self.charged_rounds + 1:
            raise PrivacyError(
                f"round {number} cannot be charged to {self._path}: the last charged one is {self.charged_rounds}. "
                "The ledger is older than the model; a model beside an older ledger has no known privacy."
            )
        if number >= len(plan.curve) or plan.curve[number] > plan.epsilon:
            raise BudgetError(
                f"round {number} was not started: {self.spent:.3f} of epsilon {plan.epsilon:g} are spent after "
                f"{self.charged_rounds} rounds, and the next would pass it. Start a new run with a larger budget."
            )
        before = self._content
        self._content = msgspec.structs.replace(before, charged_rounds=number)
        try:
            self.write()
        except PrivacyError:
            self._content = before
            raise

    def write(self) -> None:
        """Makes the ledger durable as it is.

        Raises:
            PrivacyError: it cannot be written.
        """
        try:
            write_file(self._path, msgspec.json.format(msgspec.json.encode(self._content), indent=2) + b"\n")
        except OSError as error:
            raise PrivacyError(
                f"cannot write the ledger {self._path}: {error.strerror}. No noise was drawn."
            ) from error


def begin_ledger(path: Path, plan: PrivacyPlan, key: NoiseKey, origin: Origin = UNBOUND) -> Ledger:
    """Begins the ledger of a run.

    Args:
        path: of its file.
        plan: what the run promises.
        key: what its noise comes from.
        origin: what its updates come from.

    Raises:
        PrivacyError: there is one already, or it cannot be written.
    """
    if path.exists():
        raise PrivacyError(f"{path} is the ledger of another run. Resume that, or begin in another directory.")
    ledger = Ledger(path, LedgerFile(plan=plan, key_fingerprint=key.fingerprint(), origin=origin, charged_rounds=0))
    ledger.write()
    return ledger


def open_ledger(path: Path, key: NoiseKey, origin: Origin = UNBOUND) -> Ledger:
    """Opens the ledger of a run that goes on.

    Args:
        path: of its file.
        key: what the noise comes from.
        origin: what the updates would come from.

    Raises:
        PrivacyError: there is none, it is damaged, or it belongs to another key or another origin.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=LedgerFile)
    except OSError as error:
        raise PrivacyError(
            f"cannot read the ledger {path}: {error.strerror}. What the run has spent is unknown; start anew."
        ) from error
    except msgspec.DecodeError as error:
        raise PrivacyError(
            f"{path} is not a ledger, or another version began it: {error}. What the run has spent is unknown; start "
            "anew."
        ) from error
    if found.key_fingerprint != key.fingerprint():
        raise PrivacyError(f"{path} was written with another noise key. Resume with the key of the run, or start anew.")
    if changed := found.origin.list_changes(origin):
        raise PrivacyError(
            f"{', '.join(changed)} changed since the run began: rounds that it repeats would add the same noise to "
            "other updates, and the difference of the two is private. Put it back as it was, or start a new run with "
            "another --log-dir."
        )
    if not 0 <= found.charged_rounds < len(found.plan.curve):
        raise PrivacyError(f"{path} counts {found.charged_rounds} rounds of {found.plan.rounds}. Start anew.")
    return Ledger(path, found)
