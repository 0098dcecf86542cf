"""Several input topics, each answered by a model of its own."""

from collections.abc import Callable, Mapping, Sequence

from worker.answers.answering import Answer
from worker.ports import Record

Answering = Callable[[Sequence[Record]], list[Answer]]


class TopicRouter:
    """Has each record answered by its topic's model; a micro-batch so never holds records of two models."""

    def __init__(
        self, others: Answering, routes: Mapping[str, Answering], *, proofs: Sequence[Callable[[], None]]
    ) -> None:
        """
        Args:
            others: answers the records of topics without a route.
            routes: topic -> what answers its records.
            proofs: each has one of the models prove itself.
        """
        self._others = others
        self._routes = dict(routes)
        self._proofs = proofs

    def answer(self, records: Sequence[Record]) -> list[Answer]:
        """Answers every record, in the order in which they were given.

        Raises:
            ScoringError: a model failed; no record is to blame.
        """
        places: dict[str, list[int]] = {}
        for place, record in enumerate(records):
            places.setdefault(record.topic if record.topic in self._routes else "", []).append(place)
        answered: dict[int, Answer] = {}
        for topic, own in places.items():
            answers = self._routes.get(topic, self._others)([records[place] for place in own])
            answered.update(zip(own, answers, strict=True))
        return [answered[place] for place in range(len(records))]

    def prove(self) -> None:
        """Has every model prove itself: one that fails holds them all up, for they share their transactions.

        Raises:
            ScoringError: one cannot answer its golden records.
            BundleError: one answers them otherwise.
        """
        for prove in self._proofs:
            prove()
