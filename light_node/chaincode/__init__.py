"""Chaincode as a service: the market contract behind peers of a Fabric network.

The chaincode's process is a gRPC server of ``/protos.Chaincode/Connect``; every peer of every
organisation that installed the package dials it and opens one stream (docs/fabric-protocol.md
1.11). What a peer sends over its stream is believed as far as that peer is concerned and no
further: it names the proposal it has verified and answers state calls from its own ledger, and
what comes of it is endorsed by that very peer. Streams share nothing but the program.

How it runs: one event loop owns all streams. A transaction is the contract's ordinary, blocking
code; it runs in a greenlet on the loop, which is left at every state call and resumed by its
answer, so that a short transaction costs no thread switch. Functions that compute for long
(``contract.LONG``) run in a thread and leave the loop to the others.

==============  ==================================================================
``state``       the ledger's state over state calls, batched where the peer can
``exchange``    how contract code waits for an answer: greenlet or thread
``transaction`` from the peer's TRANSACTION message to COMPLETED or ERROR
``session``     one peer's stream: registration, then transactions interleaved
``server``      gRPC, TLS, health, graceful stop
``operations``  /healthz and /metrics over HTTP
``metrics``     what is counted, in Prometheus' text format
``pauses``      keeps the garbage collector from stopping the world, and measures it
``packaging``   the install package and its id
==============  ==================================================================
"""
