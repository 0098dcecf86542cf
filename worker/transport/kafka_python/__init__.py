"""Kafka through kafka-python, which needs nothing but Python: source, producers, feed, and what only the commands use.

`transactions`, `header_names` and `bootstrap` say which precautions this client needs before it keeps what the worker
promises.
"""
