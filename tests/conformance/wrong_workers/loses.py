"""Loses: commits what it has polled before it has answered it. Who dies in between has promised too much."""

import time

from stream import Stream

SCORING_SECONDS = 0.1
"""As a model would take."""


def main() -> None:
    """Runs until SIGTERM."""
    stream = Stream()

    def step(records: list) -> None:
        stream.commit(records)
        time.sleep(SCORING_SECONDS)
        for record in records:
            stream.answer(record)
        stream.flush()

    stream.run(step)


if __name__ == "__main__":
    main()
