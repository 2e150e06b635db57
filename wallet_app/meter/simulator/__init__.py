"""Simulated homes and the meters on them; everything made here says that it is simulated."""
