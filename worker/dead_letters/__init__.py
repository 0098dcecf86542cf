"""Refused records: shown, taken away as a file, and sent through the worker once more."""
