"""What a trained model gives away about one client: accounting, ledger, keys, private sampling, card and audit."""
