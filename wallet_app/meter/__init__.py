"""Smart meters over serial: sans-I/O parsers, sessions, simulators."""
