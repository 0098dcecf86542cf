"""One file for each sub-command: ``add_arguments`` says what it takes, ``run`` does it."""
