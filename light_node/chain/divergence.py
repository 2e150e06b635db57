"""Where another history leaves ours: the first block that differs, which is what proves a fork.

A signed header does not name its channel (docs/fabric-protocol.md 2.7): one of another channel of
the same orderers looks like a fork. What ties it to this channel is the hash of a block before it
that both histories share. So a fork is only what starts with a signed block linked to our own
history; whoever shows a signed block and no such start is disbelieved, but stops nobody else.
"""

from light_node.chain import errors, verify
from light_node.chain.sources import Source
from light_node.chain.store import HeaderStore
from light_node.fabric.block import Block


def first_divergence(source: Source, store: HeaderStore, number: int) -> tuple[Block, bytes] | None:
    """Return the first block of ``source`` that is not ours, given that block ``number`` is not.

    None if its block ``number`` is ours after all. Asks for a number of headers logarithmic in
    ``number``. ``FabricError`` if it does not serve them, ``VerificationError`` if what it serves
    is not signed, or not linked to our history.
    """
    shared, differs = store.first, number
    block, raw = _header(source, differs)
    if block.hash == store.hash(differs):
        return None
    while differs - shared > 1:
        middle = (shared + differs) // 2
        found, found_raw = _header(source, middle)
        if found.hash == store.hash(middle):
            shared = middle
        else:
            differs, block, raw = middle, found, found_raw
    check_fork(store, block)
    return block, raw


def check_fork(store: HeaderStore, block: Block) -> None:
    """Check that a block that is not ours is linked to our history and signed as it must be."""
    before = store.hash(block.number - 1) if block.number else None
    config = store.config_before(block.number)
    if before is None or config is None:
        raise errors.WrongNumber(block.number, block.hash, store.first + 1)
    if block.previous_hash != before:
        raise errors.BrokenLink(block.number, block.hash, block.previous_hash, before)
    verify.verify_attestation(config, block)


def _header(source: Source, number: int) -> tuple[Block, bytes]:
    raw = source.block(number, headers_only=True)
    block = verify.parse(raw)
    if block.number != number:
        raise errors.WrongNumber(block.number, block.hash, number)
    return block, raw
