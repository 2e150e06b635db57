"""A test network of Fabric's own programs on one machine, without Docker.

Keys, certificates and block 0 are made as the devnet makes its own
(:mod:`light_node.devnet.network`), so both networks have the same organisations, the same users
and the same profile; only what answers differs: ``orderer`` and ``peer`` of Hyperledger Fabric,
and the market contract as a service beside each peer. Nothing but those two programs is needed;
where ``fabric-ca-server`` is found it is the CA, elsewhere the devnet's CA is, over the same keys.

==============  ==================================================================
``binaries``    finding Fabric's programs and their version
``plan``        which process listens where; kept in the directory
``configs``     MSP folders, ``orderer.yaml``, ``core.yaml``, the chaincode builder
``processes``   starting, recognising and stopping processes by their records
``channel``     joining orderers and peers to a channel
``zones``       the channels: the first one and further market zones
``lifecycle``   install, approve and commit a chaincode
``authority``   the organisations' certificate authorities
``status``      what runs, and how far the nodes are
``network``     up, down
==============  ==================================================================

It is for trying and testing: all keys of all organisations lie in one directory.
"""
