"""Reorders: answers what it has polled with the last record first, as a pool of threads may."""

from stream import Stream


def main() -> None:
    """Runs until SIGTERM."""
    stream = Stream()

    def step(records: list) -> None:
        for record in reversed(records):
            stream.answer(record)
        stream.flush()
        stream.commit(records)

    stream.run(step)


if __name__ == "__main__":
    main()
