"""Gathering the evidence of a fork: our signed header beside theirs, and the way to both.

And, where nothing of theirs is signed, the user's record of it.
"""

import logging
from datetime import datetime
from pathlib import Path

from light_node.chain import branch, errors, fork_evidence, history_record, verify
from light_node.chain.branch import Branch
from light_node.chain.fork_evidence import ForkEvidence
from light_node.chain.history_record import HistoryRecord
from light_node.chain.sources import Source
from light_node.chain.store import HeaderStore
from light_node.chain.trust import TrustRoot
from light_node.chain.witnesses import Testimony
from light_node.fabric.block import without_data
from light_node.fabric.identity import SigningIdentity
from light_node.i18n import Text

_log = logging.getLogger(__name__)


def keep(
    directory: Path,
    root: TrustRoot,
    store: HeaderStore,
    number: int,
    ours: Branch | None,
    theirs: Branch,
    shown_by: Source,
    testimony: Testimony,
    seen_at: datetime,
    reporter: SigningIdentity | None,
) -> tuple[str, tuple[str, ...]]:
    """Write the evidence that ``theirs`` is not ours, both from block ``number`` on.

    That is the first that differs (:mod:`light_node.chain.divergence`), ``testimony`` what the
    nodes showed when asked for it. Returns the file's name, "" if ``ours`` cannot be had or the
    file not be written (the log says why), and the organisations whose orderers signed both. A
    reporter that cannot sign now leaves the file unsigned, which proves as much.
    """
    both: tuple[str, ...] = ()
    try:
        if ours is None:
            raise errors.NotVerified(
                Text("nobody shows our block {number} with signatures for it", number=number)
            )
        parent = store.hash(number - 1) if ours.before or theirs.before else None
        evidence = ForkEvidence(
            channel=root.config.channel_id,
            trust_root=root.anchor.config_block,
            configs=root.path + config_blocks(store, number),
            ours=ours.signed,
            theirs=theirs.signed,
            parent=parent or b"",
            ours_before=ours.before,
            theirs_before=theirs.before,
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


def first_of_ours(store: HeaderStore, number: int, shown: bytes | None) -> Branch | None:
    """Return our block ``number`` as a branch by itself, None if no signed copy is at hand.

    ``shown`` is a node's copy, of which only the hash and the index are known to be ours.
    """
    config = store.config_before(number)
    for raw in (store.config_block(number), shown):
        if raw is not None and config is not None:
            block = verify.parse(raw)
            if block.hash == store.hash(number) and branch.is_signed(config, block, number):
                return Branch(without_data(raw))
    return None


def keep_record(
    directory: Path,
    root: TrustRoot,
    store: HeaderStore,
    theirs: bytes,
    last: int,
    shown_by: Source,
    seen_at: datetime,
    reporter: SigningIdentity,
) -> str:
    """Write that a source showed ``theirs`` in place of ours, and nothing signed up to ``last``.

    Returns the file's name, "" where none could be written (the log says why): it is the
    reporter's word, so that without a signature nothing is kept. The same case is written once.
    """
    block = verify.parse(theirs)
    number, name = block.number, fork_evidence.file_name(block.number, shown_by.organization)
    if (directory / history_record.FOLDER / name).exists():
        return name
    try:
        record = HistoryRecord(
            channel=root.config.channel_id,
            trust_root=root.anchor.config_block,
            configs=root.path + config_blocks(store, number),
            ours=store.hash(number) or b"",
            theirs=without_data(theirs),
            last=last,
            organization=shown_by.organization,
            address=shown_by.address,
            seen_at=seen_at.isoformat(timespec="seconds"),
        )
        kept = history_record.keep(directory, record.signed(reporter))
    except (errors.ChainError, OSError) as error:
        _log.error("no record of the history from block %d on could be kept: %s", number, error)
        return ""
    except Exception as error:  # noqa: BLE001 - keys may be locked, on a token, gone
        _log.warning("no record is kept that nobody signs: %s", error)
        return ""
    return "" if kept is None else kept.name


def config_blocks(store: HeaderStore, number: int) -> tuple[bytes, ...]:
    """Return the configuration blocks after the store's first, in force before block ``number``.

    In order; ``NotVerified`` if the block before it is not stored, ``StoreError`` if one is
    missing.
    """
    found: list[bytes] = []
    while True:
        config = store.config_before(number)
        if config is None:
            raise errors.NotVerified(Text("block {number} is not verified here", number=number))
        number = config.block_number
        if number <= store.first:
            return tuple(reversed(found))
        raw = store.config_block(number)
        if raw is None:
            raise errors.StoreError(
                Text("configuration block {number} is missing from the store", number=number)
            )
        found.append(raw)
