"""Loading a network: the papers' ramp of queries, transactions to commit, and reports of both.

Load is open-loop: each call is sent at its instant, whatever the others do, and its latency counts
from that instant, so that a stall is not hidden by sending less. The client signs but does not
check endorsements, as Fabric's official clients do, and is one asyncio loop on one connection.
"""
