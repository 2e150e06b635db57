"""Where another history leaves ours: the first block that differs, and who stands for it.

A signed header does not name its channel (docs/fabric-protocol.md 2.7): one of another channel of
the same orderers looks like a fork. What ties it to this channel is the hash of a block before it
that both histories share. So a fork is only what starts with a block linked to our own history and
leads to a signed one; whoever shows a signed block and no such start is disbelieved, but stops
nobody else.
"""

import threading
from collections.abc import Callable

from light_node.chain import branch, errors, verify
from light_node.chain.branch import Branch, Unsigned
from light_node.chain.sources import Source, Stream
from light_node.chain.store import HeaderStore
from light_node.fabric.block import Block, without_data
from light_node.fabric.errors import FabricError
from light_node.i18n import Text

CLIMB_S = 60.0
"""So long a node may take to show its history from the parting on."""


def first_divergence(source: Source, store: HeaderStore, number: int) -> tuple[Block, bytes] | None:
    """Return the first block of ``source`` that is not ours, given that block ``number`` is not.

    None if its block ``number`` is ours after all. Asks for a number of headers logarithmic in
    ``number``. ``FabricError`` if it does not serve them, ``VerificationError`` if what it serves
    is not linked to our history. Whether it is signed is for :func:`branch_of` to find.
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
    check_link(store, block)
    return block, raw


def check_link(store: HeaderStore, block: Block) -> None:
    """Check that a block that is not ours follows one of ours: ``WrongNumber``, ``BrokenLink``."""
    before = store.hash(block.number - 1) if block.number else None
    if before is None or store.config_before(block.number) is None:
        raise errors.WrongNumber(block.number, block.hash, store.first + 1)
    if block.previous_hash != before:
        raise errors.BrokenLink(block.number, block.hash, block.previous_hash, before)


def branch_of(
    source: Source,
    store: HeaderStore,
    number: int,
    signed_at: int | None,
    reading: Callable[[Stream], None],
    *,
    most: int = branch.MAX_BLOCKS,
) -> Branch | Unsigned:
    """Return what ``source`` shows from block ``number`` on, up to the first signed block.

    ``signed_at`` is the number of a later block it showed signed, if any; else its newest is
    looked at; either only if it is less than ``most`` blocks on. ``reading`` is given the stream,
    to close it when everything stops. ``FabricError`` if the node does not answer.
    """
    parent, config = store.hash(number - 1), store.config_before(number)
    if parent is None or config is None:
        raise errors.NotVerified(Text("block {number} is not verified here", number=number - 1))
    newest = verify.parse(source.newest())
    if newest.number < number:  # it has just shown that block, and takes it back
        return Unsigned(number)
    if signed_at is None and branch.is_signed(config, newest, number):
        signed_at = newest.number
    # Not beyond its tip, where the stream would wait for more to come.
    if signed_at is None or signed_at - number >= min(most, branch.MAX_BLOCKS):
        signed_at = None
    last = number + branch.LOOKED_AT - 1 if signed_at is None else signed_at
    stream = source.headers(number, max(number, min(last, newest.number)))
    reading(stream)
    patience = threading.Timer(CLIMB_S, stream.close)
    patience.daemon = True
    patience.start()
    try:
        return branch.climb(stream, number, parent, config, signed_at=signed_at)
    finally:
        patience.cancel()
        stream.close()


def own_branch(
    sources: list[Source], store: HeaderStore, number: int, kept: dict[int, bytes]
) -> Branch | None:
    """Return our own history from block ``number`` on up to a signed block.

    From the first of ``sources`` that shows it; else from ``kept``, blocks by number as they were
    verified here. None if neither has a signed one.
    """
    ours, parent = store.hash(number), store.hash(number - 1)
    config, tip = store.config_before(number), store.state.number
    if ours is None or parent is None or config is None:
        return None
    for source in sources:
        try:
            found = branch_of(source, store, number, tip, lambda stream: None)
            if isinstance(found, Branch) and branch.first_hash(found, parent) == ours:
                return found
        except (FabricError, errors.VerificationError):
            continue
    for at in sorted(kept):
        if number <= at < number + branch.MAX_BLOCKS:
            block = verify.parse(kept[at])
            if block.hash == store.hash(at) and branch.is_signed(config, block, number):
                headers = (store.header(n) for n in range(number, at))
                before = b"".join(h.data_hash for h in headers if h is not None)
                return Branch(without_data(kept[at]), before)
    return None


def _header(source: Source, number: int) -> tuple[Block, bytes]:
    raw = source.block(number, headers_only=True)
    block = verify.parse(raw)
    if block.number != number:
        raise errors.WrongNumber(block.number, block.hash, number)
    return block, raw
