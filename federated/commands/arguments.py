"""Types of command-line values that more than one command takes."""

import argparse
import math

from federated.data.partition import MAX_CLIENTS


def count(value: str) -> int:
    """A whole number, at least 1."""
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return number


def clients(value: str) -> int:
    """How many clients to simulate."""
    number = count(value)
    if number > MAX_CLIENTS:
        raise argparse.ArgumentTypeError(f"{value} is more than {MAX_CLIENTS:,}")
    return number


def seed(value: str) -> int:
    """A whole number, at least 0, as NumPy's generators want it."""
    number = int(value)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{value} is not at least 0")
    return number


def positive(value: str) -> float:
    """A number above 0."""
    number = float(value)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return number


def fraction(value: str) -> float:
    """A number between 0 and 1, neither of them."""
    number = float(value)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 1")
    return number
