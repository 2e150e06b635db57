"""The embedded network: organisations, ordering service, CA; one process, Fabric's protocol."""
