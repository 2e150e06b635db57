"""The market rules: integers in, integers out, no I/O, no clock (docs/market-rules.md)."""
