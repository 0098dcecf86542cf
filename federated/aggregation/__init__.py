"""What happens to clients' updates between their training and the server's step: one pipeline, see `pipeline`."""
