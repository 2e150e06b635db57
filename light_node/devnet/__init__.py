"""The embedded network: organisations, ordering service and CA in one process, Fabric's protocol."""
