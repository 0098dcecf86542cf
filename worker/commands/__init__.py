"""One module per sub-command of ``python -m worker``: `add_arguments` and `run`."""
