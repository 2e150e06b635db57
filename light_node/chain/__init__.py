"""The light client: pure verification of blocks, sync from several organisations, header store."""
