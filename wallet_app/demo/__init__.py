"""A trading day on one machine: devnet, neighbours, meter and wallet, started together."""
