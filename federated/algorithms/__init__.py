"""Federated algorithms: one small pure definition each, which every engine runs."""
