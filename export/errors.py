"""What stops an export. Nothing was written when one of these is raised.

::

    LimelightError
    └── ExportError
        ├── SavedModelError    the SavedModel, its signatures or its assets are not what a bundle needs
        ├── ConversionError    the model cannot be expressed in ONNX, or was traced for training
        ├── SigningError       a key or a signature cannot be made, read or written
        └── ParityError        ONNX Runtime and TensorFlow disagree
"""

from worker.errors import LimelightError


class ExportError(LimelightError):
    """The bundle cannot be made."""


class SavedModelError(ExportError):
    """The SavedModel, one of its signatures or a file of its ``assets.extra`` is missing or malformed."""


class ConversionError(ExportError):
    """The graph that tf2onnx made cannot be served."""


class SigningError(ExportError):
    """A key or a signature cannot be made, read or written."""


class ParityError(ExportError):
    """The ONNX graph answers differently from the SavedModel, or its attention is not a distribution."""
