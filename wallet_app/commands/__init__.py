"""One module per sub-command of ``prosumer-wallet``."""
