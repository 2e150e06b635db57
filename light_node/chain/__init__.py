"""The light client: what makes a figure worth believing when no single organisation is.

**The guarantee.** Given one configuration block of the channel, obtained out of band (the trust
root), :mod:`~light_node.chain.verify` accepts a block N only if

* its number is one more than the last accepted, and its ``previous_hash`` is that block's hash;
* the orderers of the configuration *in force at N* signed its header by the channel's
  BlockValidation policy: Q of the consenters on a BFT channel, one signature of an orderer
  organisation on a Raft channel; or a later block so signed is linked to it by hashes;
* the *signed* index of the last configuration block is the one we hold, so that no change of the
  configuration (and with it of who may sign) can be hidden;
* its data, where present, hashes to the header's ``data_hash`` and can be cut into transactions in
  one way only.

A configuration block is verified under the configuration before it, and takes effect after it.

**Who signs what.** Orderers sign the header and the last-config index, nothing else. Whether a
transaction was *valid* (``TRANSACTIONS_FILTER``) and the state it led to (``COMMIT_HASH``) are each
peer's own word. Hence :mod:`~light_node.chain.sync` wants sources of at least two organisations, a
required argument, and a figure counts as *agreed* only when peers of two organisations showed the
same header, the same flags and the same commit hash. A source that is behind is unknown, not
agreeing.

**Assumptions.** On a BFT channel fewer than a third of the consenters are dishonest. On a Raft
channel no orderer organisation is (one dishonest one can sign a fork: ``docs/fabric-protocol.md``
2.4); a fork shown to two organisations' peers is noticed and both headers are kept. SHA-256 and
the signature schemes hold. The trust root is right.

**What it does not promise.** Nothing about blocks nobody serves: all sources together can withhold
the newest blocks; :mod:`~light_node.chain.sync` shows how old the newest one is. Nothing about
expiry: an expired orderer certificate verifies, as in Fabric (3.2).

**Shape.** ``verify`` is pure: bytes and a :class:`~light_node.chain.verify.TrustedState` in, a new
state or a :class:`~light_node.chain.errors.VerificationError` out; no clock, no socket, no file.
``store`` keeps headers, ``sync`` moves bytes, ``blocks`` looks into full blocks, ``node`` ties
them together for the wallet. Sections below mean ``docs/fabric-protocol.md``.
"""
