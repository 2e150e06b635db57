"""The light node: market rules, contract, Fabric wire, verification and the embedded devnet.

Nothing here knows Qt, a keyring or a serial port: it runs on a PC, a server or a Raspberry Pi.
"""

import os

# gRPC reads these when it is first imported. Our children are started by exec, never by a bare
# fork, so its fork handlers only write lines into the user's terminal; errors reach us as errors.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
