"""How many bytes one source may send: by block, and in all before something of it is verified.

Blocks hold what the channel's BatchSize lets orderers put into one, but the encoding can be padded
without end by fields that nobody reads, and a stream need never end. Fabric lets a message have
100 MiB, so without a bound of its own a light node could be made to fetch that again and again.
"""

from light_node.chain import errors, verify
from light_node.chain.store import HeaderStore
from light_node.chain.tracker import Tracker
from light_node.fabric.block import MAX_BLOCK_BYTES
from light_node.fabric.channel_config import ChannelConfig
from light_node.i18n import Text

FLOOR_BYTES = 8 * 1024 * 1024
"""A block may have so many whatever the configuration says: configurations come whole."""


def most_block_bytes(config: ChannelConfig) -> int:
    """Return how many bytes a block under ``config`` may have on the wire.

    A batch is cut before it exceeds PreferredMaxBytes; a larger transaction has a block of its own,
    up to AbsoluteMaxBytes. Twice that leaves room for signatures and framing.
    """
    batch = max(config.batch_absolute_max_bytes, config.batch_preferred_max_bytes)
    return min(MAX_BLOCK_BYTES, max(FLOOR_BYTES, 2 * batch + verify.MAX_METADATA_BYTES))


def count(tracker: Tracker, store: HeaderStore, raw: bytes) -> None:
    """Count a block that a source sent; ``TooManyBytes`` where that is more than it may.

    The count begins anew with every block of it that is verified (``Tracker.unverified``), and
    after the error.
    """
    tracker.unverified += len(raw)
    if len(raw) <= FLOOR_BYTES and tracker.unverified <= 3 * FLOOR_BYTES:
        return  # within the bounds of every configuration: nearly always
    most = most_block_bytes(store.state.config)
    if len(raw) > most:
        _check_size(store, raw, most)
    # One block at the tip on every connection, and what a batch may hold.
    allowed = FLOOR_BYTES + 2 * most
    if tracker.unverified > allowed:
        sent, tracker.unverified = tracker.unverified, 0
        raise errors.TooManyBytes(
            Text(
                "the node sent {sent} bytes without one more block that verifies; {allowed} are "
                "taken",
                sent=format(sent, ","),
                allowed=format(allowed, ","),
            )
        )


def _check_size(store: HeaderStore, raw: bytes, most: int) -> None:
    block = verify.parse(raw)
    # A source that is behind may show blocks of a time when they might be larger.
    older = store.config_before(block.number)
    if older is not None and len(raw) <= most_block_bytes(older):
        return
    raise errors.TooManyBytes(
        Text(
            "block {number} came with {count} bytes; the channel allows {most}",
            number=block.number,
            count=format(len(raw), ","),
            most=format(most, ","),
        ),
        number=block.number,
        hash=block.hash,
    )
