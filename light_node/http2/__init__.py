"""HTTP/2 for servers (RFC 9113) as gRPC's clients speak it: bytes in, events and bytes out, no I/O.

For the chaincode server alone: gRPC's own server costs a Python program half a millisecond for each
message of a stream, ten times what the message itself takes, and a transaction has four to six.
"""
