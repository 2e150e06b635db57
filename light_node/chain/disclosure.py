"""Configuration blocks that were hidden by a false last-config index (2.7).

The index in a header's metadata is signed, not hashed: orderers that collude can sign a header once
with the right index and once with another. To whoever gets headers alone, a configuration block
then looks like an ordinary one, and the new configuration's orderers like strangers. What gives
them away is one honest node: its copies rest on a configuration that ours do not know, and the
hash of the block, verified here already, proves that its data is a configuration.
"""

from light_node.chain import errors, verify
from light_node.chain.sources import Source
from light_node.chain.store import HeaderStore
from light_node.chain.verify import TrustedState
from light_node.fabric import block as blocks
from light_node.fabric.block import Block


def check_index(store: HeaderStore, block: Block) -> None:
    """``HiddenConfig`` if a copy of a stored block rests on another configuration than ours."""
    header, index = store.header(block.number), verify.last_config(block)
    if header is not None and index is not None and index != header.config:
        raise errors.HiddenConfig(block.number, block.hash, index, header.config)


def disclosed(source: Source, store: HeaderStore, number: int) -> bytes | None:
    """Return block ``number`` if it is a configuration block but an ordinary one in the store.

    None if the store has it right, or does not have it. ``FabricError`` if ``source`` does not
    serve the block, ``VerificationError`` if what it serves is not the stored block, or does not
    verify as a configuration under the one before.
    """
    header, config = store.header(number), store.config_before(number)
    if header is None or config is None or header.config == number:
        return None
    raw = source.block(number)
    block = verify.parse(raw)
    verify.verify_hash(block, header.hash)
    if block.envelopes is None or not blocks.is_config(block.envelopes):
        return None
    verify.verify_block(TrustedState(config, number - 1, header.previous_hash), block)
    return raw


def signed_otherwise(source: Source, store: HeaderStore, number: int) -> bytes | None:
    """Return the source's copy of a stored block if it is signed with another index than ours.

    None if it is not the stored block, or has the same index by now. Errors as in
    :func:`disclosed`, ``AttestationFailed`` among them.
    """
    config = store.config_before(number)
    raw = source.block(number, headers_only=True)
    block = verify.parse(raw)
    if config is None or block.hash != store.hash(number):
        return None
    verify.verify_attestation(config, block)
    try:
        check_index(store, block)
    except errors.HiddenConfig:
        return raw
    return None
