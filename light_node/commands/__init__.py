"""One module per sub-command of ``light-node``."""
