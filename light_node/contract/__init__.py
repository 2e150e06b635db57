"""The market contract over an abstract ledger state with Fabric's semantics (docs/contract.md)."""
