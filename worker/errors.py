"""Every error that Limelight raises on purpose.

::

    LimelightError                 message names the thing, the place and the remedy
    ├── ProcessesError             one process of several ended by an error that no restart cures
    ├── SettingsError              a setting is unknown, missing or malformed
    ├── BundleError                the model bundle cannot be used
    │   ├── BundleSchemaError      written for another schema version
    │   ├── BundleDigestError      a file is missing, changed, or outside the bundle
    │   ├── BundleSignatureError   signed by nobody whom the settings trust, or a key cannot be read
    │   └── BundleTensorError      the manifest and ONNX Runtime disagree about a tensor
    ├── RegistryError              the registry of models, or a deployment in it, cannot be used
    │   ├── RegistryUnreachableError  *retriable*: the store does not answer
    │   └── DeploymentConflictError   somebody else changed the deployment first
    ├── RecordError                one record is at fault: dead letter, and the stream goes on
    │   ├── DecodeError            stage "decode": not UTF-8, not JSON, no value
    │   ├── ValidationError        stage "validate": a field is missing, empty or of the wrong type
    │   ├── FeatureError           stage "features": the fields are valid but give the model nothing to read
    │   ├── UnscorableError        stage "score": the model fails on this record alone, or dies of it
    │   ├── EncodeError            stage "encode": the answer is larger than the output topic takes
    │   └── UndeliverableError     stage "deliver": the brokers refuse the answer for what it is
    ├── ScoringError               *retriable*: the *model* failed: nothing is committed until it answers again
    ├── TransportError             the broker or the network is at fault
    │   ├── BrokerUnreachableError *retriable*
    │   ├── AccessDeniedError      a broker answers, but does not let us in: TLS, certificate, password
    │   ├── TopicMissingError
    │   ├── OffsetGapError         retention overtook the worker: records were lost before they were read
    │   ├── DeadLetterRefusedError the dead-letter topic takes nothing that stands for a record
    │   └── FencedError            another process uses this worker's identity; never retried
    └── DeliveryError              *retriable*: the open transaction was aborted; seek back and deliver again
        └── OutputRefusedError     the brokers refuse an output for what it is: deliver the slice without it

``retriable`` says whether the same call can succeed later without a human. `federated` and `export` derive their own
errors from `LimelightError`, so that every command line ends the same way: one line on stderr, exit status 1.
"""

from collections.abc import Mapping
from typing import ClassVar


class LimelightError(Exception):
    """Base class. The message is written for the person who has to act on it."""

    retriable: ClassVar[bool] = False

    def line(self) -> str:
        """What a command prints before it exits."""
        return f"error: {' '.join(str(self).split())}"


class ProcessesError(LimelightError):
    """A worker of several processes cannot go on; what ended one of them stands on a line of its own."""


class SettingsError(LimelightError):
    """A setting is unknown, missing or malformed."""


class BundleError(LimelightError):
    """The model bundle cannot be used."""


class BundleSchemaError(BundleError):
    """The manifest follows another schema, or none."""


class BundleDigestError(BundleError):
    """A file is missing, differs from its digest, or lies outside the bundle."""


class BundleSignatureError(BundleError):
    """Nobody whom the settings trust vouches for the bundle, or a key cannot be read."""


class BundleTensorError(BundleError):
    """A tensor of the manifest differs from what ONNX Runtime reports."""


class RegistryError(LimelightError):
    """The registry of models, or a deployment in it, cannot be used."""


class RegistryUnreachableError(RegistryError):
    """The store that holds the registry does not answer."""

    retriable = True


class DeploymentConflictError(RegistryError):
    """The deployment is not what the change was decided on."""


class RecordError(LimelightError):
    """One record cannot be scored. It becomes a dead letter; its neighbours are not affected."""

    stage: ClassVar[str] = "record"
    attempts = 1
    """How often workers began where the record stands, this time included."""


class DecodeError(RecordError):
    """The value is not a JSON object in UTF-8."""

    stage = "decode"


class ValidationError(RecordError):
    """A field that the model reads is missing, empty or of the wrong type."""

    stage = "validate"


class FeatureError(RecordError):
    """The fields are valid, but nothing in them can be turned into model input."""

    stage = "features"


class UnscorableError(RecordError):
    """The model, which answers its golden records, fails on this record, or the process that scores it dies."""

    stage = "score"


class EncodeError(RecordError):
    """The answer cannot be written, because it is larger than the output topic takes."""

    stage = "encode"


class UndeliverableError(RecordError):
    """The brokers refuse the answer for what it is: it has no key, say, and its topic compacts."""

    stage = "deliver"


class ScoringError(LimelightError):
    """The model failed on valid input. No record is to blame: dead letters would drain the topic."""

    retriable = True


class TransportError(LimelightError):
    """The broker, or the way to it, is at fault."""


class BrokerUnreachableError(TransportError):
    """No broker answered at the configured address."""

    retriable = True


class AccessDeniedError(TransportError):
    """A broker answers and does not let us in: protocol, certificate, mechanism, user or password."""


class TopicMissingError(TransportError):
    """A configured topic does not exist."""


class OffsetGapError(TransportError):
    """The committed position no longer exists in the log: retention overtook the worker."""


class DeadLetterRefusedError(TransportError):
    """A record can neither be answered nor refused: the dead-letter topic takes not even a pointer to it."""


class FencedError(TransportError):
    """Another process took over this worker's transactional id or group instance."""


class DeliveryError(LimelightError):
    """A transaction did not commit. Nothing of it is visible; the slice is read and scored again."""

    retriable = True


class OutputRefusedError(DeliveryError):
    """The brokers refuse an output for what it is: with it, every transaction would abort."""

    def __init__(self, message: str, *, outputs: Mapping[int, str], is_too_large: bool) -> None:
        """
        Args:
            message: as of every error.
            outputs: place in the delivery -> reason, of the outputs that were refused by name; empty where a whole
                batch was. One that was delivered alone is always named.
            is_too_large: what was refused has too many bytes.
        """
        super().__init__(message)
        self.outputs = outputs
        self.is_too_large = is_too_large
