"""Kafka through librdkafka (confluent-kafka): the same parts as in `worker.transport.kafka_python`, for less CPU.

Where the library's own way would lose what the worker promises, another is taken:

=====================================  ================================================================================
the library                            here
=====================================  ================================================================================
looks committed offsets up by itself;  `places`: a partition is read once we know where it must begin
a lookup that fails at the wrong
moment leaves its partition unread
may answer a question for a logical    `places`: it is given numbers alone
offset after a seek, and go there
waits without end for a group's        `commits`: sends without waiting; the answer comes with what is read
answer to a commit
waits for a whole batch                `source`: one record is waited for, the others are taken as they are there
answers a query for offsets only       `lookup`: a second connection asks
after a fetch that waits
exceeds the timeout of                 `transactions`: the call gets a thread, which is left behind at the deadline
``send_offsets_to_transaction``
lets one thread at a time into a       `rebalance`: the thread that polls notes as whom the group knows us, so that
consumer                               whoever delivers need not ask
sends a commit that had to wait as     `rebalance`: who lost its partitions does not return before its commits are
who it is by then                      answered
=====================================  ================================================================================
"""
