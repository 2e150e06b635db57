"""The light node: market rules, contract, Fabric wire, verification and the embedded devnet.

Nothing here knows Qt, a keyring or a serial port: it runs on a PC, a server or a Raspberry Pi.
"""
