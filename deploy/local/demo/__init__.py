"""The whole route on this machine: broker, federated training, export, workers and a live stream that is scored.

::

    generate / split ──> traffic (+ malformed) ──> feeder ──> limelight.events
                                                                    │
    train ──> export ──> bundle ──> workers <───────────────────────┤
                                       │                            │
             limelight.predictions, limelight.events.dlq            │
                                       │                            │
                         tails (read_committed) <───────────────────┘
                                       │
                                    figures ──> view         audit ──> summary

Programs run as child processes; feeder and tails are threads. The figures that the view shows are taken while the
stream runs; what the summary says about lost, duplicated and changed records is counted afterwards, by `audit`, which
reads the topics back from their beginning.
"""
