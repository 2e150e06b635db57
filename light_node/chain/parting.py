"""Gathering the evidence of a fork: our signed header beside theirs, and the way to both."""

import logging
from datetime import datetime
from pathlib import Path

from light_node.chain import errors, fork_evidence, verify
from light_node.chain.fork_evidence import ForkEvidence
from light_node.chain.sources import Source
from light_node.chain.store import HeaderStore
from light_node.chain.trust import TrustRoot
from light_node.chain.witnesses import Testimony
from light_node.fabric.block import without_data
from light_node.fabric.identity import SigningIdentity

_log = logging.getLogger(__name__)


def keep(
    directory: Path,
    root: TrustRoot,
    store: HeaderStore,
    theirs: bytes,
    shown_by: Source,
    testimony: Testimony,
    seen_at: datetime,
    reporter: SigningIdentity | None,
) -> tuple[str, tuple[str, ...]]:
    """Write the evidence that ``theirs``, a signed block, is not ours.

    ``theirs`` is the first that differs (:mod:`light_node.chain.divergence`), ``testimony`` what
    the nodes showed when asked for it, ours among it. Returns the file's name, "" if ours cannot
    be had or the file not be written (the log says why), and the organisations whose orderers
    signed both. A reporter that cannot sign now leaves the file unsigned, which proves as much.
    """
    number = verify.parse(theirs).number
    both: tuple[str, ...] = ()
    ours = store.config_block(number) or testimony.ours
    try:
        if ours is None:
            raise errors.NotVerified(f"nobody shows our block {number} with its signatures")
        evidence = ForkEvidence(
            channel=root.config.channel_id,
            trust_root=root.anchor.config_block,
            configs=root.path + config_blocks(store, number),
            ours=without_data(ours),
            theirs=without_data(theirs),
            organization=shown_by.organization,
            address=shown_by.address,
            seen_at=seen_at.isoformat(timespec="seconds"),
            witnesses=testimony.witnesses,
        )
        both = fork_evidence.check(evidence, root.anchor).both
        try:
            evidence = evidence if reporter is None else evidence.signed(reporter)
        except Exception as error:  # noqa: BLE001 - keys may be locked, on a token, gone
            _log.warning("the evidence is kept unsigned: %s", error)
        kept = fork_evidence.keep(directory, evidence, number)
    except (errors.ChainError, OSError) as error:
        _log.error("no evidence of the fork at block %d could be kept: %s", number, error)
        return "", both
    return "" if kept is None else kept.name, both


def config_blocks(store: HeaderStore, number: int) -> tuple[bytes, ...]:
    """Return the configuration blocks after the store's first, in force before block ``number``.

    In order; ``NotVerified`` if the block before it is not stored, ``StoreError`` if one is
    missing.
    """
    found: list[bytes] = []
    while True:
        config = store.config_before(number)
        if config is None:
            raise errors.NotVerified(f"block {number} is not verified here")
        number = config.block_number
        if number <= store.first:
            return tuple(reversed(found))
        raw = store.config_block(number)
        if raw is None:
            raise errors.StoreError(f"configuration block {number} is missing from the store")
        found.append(raw)
