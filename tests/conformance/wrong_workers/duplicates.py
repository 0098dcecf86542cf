"""Duplicates: answers first and commits afterwards, without a transaction around both."""

import time

from stream import Stream

BOOKKEEPING_SECONDS = 0.1


def main() -> None:
    """Runs until SIGTERM."""
    stream = Stream()

    def step(records: list) -> None:
        for record in records:
            stream.answer(record)
        stream.flush()
        time.sleep(BOOKKEEPING_SECONDS)
        stream.commit(records)

    stream.run(step)


if __name__ == "__main__":
    main()
