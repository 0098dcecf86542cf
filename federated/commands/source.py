"""Flags that name a file of labelled texts and say what its columns mean."""

import argparse
from pathlib import Path

from federated.data.readers import Source
from federated.data.rows import KINDS
from federated.errors import ConfigError

_FLAGS = ("--text-field", "--label-field", "--client-field", "--table", "--group-field")


def add_source_arguments(parser: argparse.ArgumentParser, *, instead: str = "") -> None:
    """Adds ``--data`` and the flags of its columns.

    Args:
        parser: gets them.
        instead: what is used where no file is given; without it a file is required.
    """
    kinds = f"{', '.join(KINDS[:-1])} or {KINDS[-1]}" + (f" ({instead})" if instead else "")
    parser.add_argument("--data", type=Path, required=not instead, metavar="FILE", help=kinds)
    parser.add_argument("--text-field", required=not instead, metavar="F", help="column that holds the text")
    parser.add_argument("--label-field", required=not instead, metavar="L", help="column that holds the label")
    parser.add_argument("--client-field", metavar="C", help="column that names each row's client")
    parser.add_argument("--table", metavar="T", help="of a database with more than one")
    parser.add_argument("--group-field", metavar="G", help="column; rows with one value are all held out, or none is")


def read_source(arguments: argparse.Namespace) -> Source | None:
    """The file that was named, if any.

    Raises:
        ConfigError: the flags are no whole description.
    """
    given = {flag: getattr(arguments, flag.strip("-").replace("-", "_")) for flag in _FLAGS}
    if arguments.data is None:
        if stray := [flag for flag, value in given.items() if value]:
            raise ConfigError(f"{stray[0]} describes a file, but there is no --data.")
        return None
    if missing := [flag for flag in _FLAGS[:2] if not given[flag]]:
        raise ConfigError(f"--data {arguments.data} needs {' and '.join(missing)}: the columns to read.")
    return Source(arguments.data, *given.values())
