"""The worker's work as a user of Quix Streams would write it: record by record, exactly once.

Started by `python -m worker bench --peer` with the settings of a worker; ends in order at SIGTERM. It is no straw man:
tokenizer, session, messages and JSON library are the worker's own, and nothing is done that the answer does not need.
"""

import os
import time
from pathlib import Path

import msgspec
import numpy as np
from quixstreams import Application, message_context

from worker.bundle import PROBABILITIES, load_bundle
from worker.features import TextEncoder
from worker.messages import AttentionMap, Classification, Event, ModelRef, Position, Prediction
from worker.scorer import build_session

COMMIT_SECONDS = 1.0
"""Readers wait for the end of a transaction: the framework's default of 5 s costs them more than it gains."""


class Model:
    """Answers one event at a time."""

    def __init__(self, path: Path) -> None:
        bundle = load_bundle(path)
        manifest = bundle.manifest
        [graph], [field], [self._axes] = manifest.graphs, manifest.fields, manifest.attention
        # For a single row two threads are slower than one.
        self._session = build_session(bundle.contents[graph.file], threads=1)
        self._input, self._outputs = field.input, [PROBABILITIES, self._axes.output]
        self._tokenize = TextEncoder(bundle.vocabulary(field), max_tokens=field.max_tokens).encode
        self._labels = manifest.labels
        self._model = ModelRef(manifest.name, manifest.version, manifest.training.rounds)
        self._from_json = msgspec.json.Decoder(Event).decode
        self._to_json = msgspec.json.Encoder().encode

    def answer(self, value: bytes, source: Position, timestamp_ms: int) -> bytes:
        """The Prediction that the worker would write."""
        event = self._from_json(value)
        text = self._tokenize(event.text)
        rows = np.array([text.ids], np.int32)
        [probabilities], [weights] = self._session.run(self._outputs, {self._input: rows})
        by_label = {label: round(p, 6) for label, p in zip(self._labels, probabilities.tolist(), strict=True)}
        label = self._labels[int(probabilities.argmax())]
        attention = AttentionMap(
            name=self._axes.name,
            axes=self._axes.axes,
            field=self._axes.field,
            spans=text.spans,
            weights=[round(weight, 6) for weight in weights.tolist()],
            truncated=text.truncated,
            items=[event.text[start:end] for start, end in text.spans],
        )
        prediction = Prediction(
            id=str(source) if event.id is None else str(event.id),
            source=source,
            output=Classification(label=label, score=by_label[label], probabilities=by_label),
            attention=[attention],
            model=self._model,
            event_timestamp_ms=timestamp_ms,
            scored_timestamp_ms=time.time_ns() // 1_000_000,
            passthrough=event.passthrough,
        )
        return self._to_json(prediction)


def main() -> None:
    model = Model(Path(os.environ["LIMELIGHT_BUNDLE"]))
    application = Application(
        broker_address=os.environ["LIMELIGHT_BOOTSTRAP_SERVERS"],
        consumer_group=os.environ["LIMELIGHT_GROUP_ID"],
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        commit_interval=COMMIT_SECONDS,
        auto_create_topics=False,
        use_changelog_topics=False,
        loglevel="WARNING",
    )
    events = application.topic(
        os.environ["LIMELIGHT_INPUT_TOPIC"], value_deserializer="bytes", key_deserializer="bytes"
    )
    answers = application.topic(os.environ["LIMELIGHT_OUTPUT_TOPIC"], value_serializer="bytes", key_serializer="bytes")

    def answer(value: bytes, _key: bytes, timestamp_ms: int, _headers: object) -> bytes:
        place = message_context()
        return model.answer(value, Position(place.topic, place.partition, place.offset), timestamp_ms)

    application.dataframe(events).apply(answer, metadata=True).to_topic(answers)
    application.run()


if __name__ == "__main__":
    main()
