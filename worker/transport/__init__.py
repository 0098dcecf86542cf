"""Adapters of `worker.ports.Source` and `worker.ports.Sink`."""
