"""How records are understood, and what an answer tells."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings

from worker.errors import SettingsError
from worker.settings.config import CONFIG
from worker.settings.names import variable
from worker.settings.values import FieldMap, RecordField, SessionOptions


class AnswerSettings(BaseSettings):
    """Fields and limits of records, the model's runtime, and the detail of predictions."""

    model_config = CONFIG

    id_field: RecordField = "id"
    """Record field with the event's id, if it has one."""
    fields: FieldMap = {}
    """Where the model's fields stand in a record: text=review,... or JSON. The default is the same names."""
    tombstones: Literal["dead_letter", "skip"] = "dead_letter"
    """What a record without a value becomes: a dead letter, or nothing, where the topic is compacted."""

    abstain_below: Annotated[float, Field(ge=0, le=1)] = 0
    """Probability of the best label under which the answer names none: `label` is null and `abstained` true."""
    attention_weights: Annotated[int, Field(ge=1)] | None = None
    """How many weights of each attention a Prediction carries: the largest, in the order of the text. The default is
    all."""
    token_text: bool = True
    """Whether a Prediction repeats the text of the tokens, which may be personal. Their places stay in any case."""
    execution_provider: str = "CPUExecutionProvider"
    """What ONNX Runtime computes on; the package that is installed has to bring it."""
    session_options: SessionOptions = {}
    """Options of ONNX Runtime's sessions: intra_op_num_threads=1,graph_optimization_level=ORT_ENABLE_BASIC, or
    configuration entries, whose names have dots: session.intra_op.allow_spinning=1."""

    max_record_bytes: Annotated[int, Field(ge=1)] = 16 << 20
    """Bytes of key, value and headers; a record with more becomes a dead letter, unread."""
    max_record_headers: Annotated[int, Field(ge=0)] = 1_000
    """Headers of a record; the same."""
    max_nesting: Annotated[int, Field(ge=1, le=1_000)] = 100
    """Objects and lists inside one another in a value; the same."""
    max_text_tokens: Annotated[int, Field(ge=1)] = 1_000_000
    """Tokens of a text; the same. The model reads the first of them only, and says `truncated`."""

    def field_map(self, model_fields: Iterable[str]) -> dict[str, str]:
        """Completes `fields` for a model.

        Args:
            model_fields: names of the fields that the bundle reads.

        Returns:
            Model field -> record field, for `worker.messages.event_type`.

        Raises:
            SettingsError: `fields` names what the model does not read, or two values are read from one record field.
        """
        names = list(model_fields)
        if unknown := sorted(self.fields.keys() - set(names)):
            raise SettingsError(
                f"{variable('fields')} names {', '.join(unknown)}, which the model does not read. "
                f"It reads {', '.join(names)}."
            )
        mapped = {name: self.fields.get(name, name) for name in names}
        taken = [*mapped.values(), self.id_field, "passthrough"]
        if twice := sorted({name for name in taken if taken.count(name) > 1}):
            raise SettingsError(
                f"{variable('fields')} and {variable('id_field')} read the record field {', '.join(twice)} twice. "
                "Each model field, the id and passthrough need a field of their own."
            )
        return mapped
