"""The light node as the wallet and the commands use it: profile and identity in, proofs out."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from light_node.chain import blocks, errors, skip, trust, verify
from light_node.chain.agreement import judge, majority, validity_digest
from light_node.chain.blocks import BlockTransaction, FullBlock
from light_node.chain.parting import config_blocks
from light_node.chain.sources import Source, from_profile
from light_node.chain.status import Level, SyncStatus
from light_node.chain.store import HeaderStore
from light_node.chain.sync import ChainSync, Listener
from light_node.clock import Clock
from light_node.fabric.block import Block
from light_node.fabric.channel_config import ChannelConfig
from light_node.fabric.errors import FabricError
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.profile import NetworkProfile
from light_node.fabric.transaction import ParsedTransaction
from light_node.i18n import Text, row_of

_CACHED_BLOCKS = 16
_CACHED_BYTES = 1024 * 1024  # larger blocks are fetched again


@dataclass(frozen=True, slots=True)
class VerifiedTransaction:
    """A transaction in a verified block, and how far its validity is proved.

    ``organizations`` are those whose peers state flags and commit hash. ``problems`` says what a
    peer should have refused; a VALID transaction with problems is ``DISPUTED``. ``transaction`` is
    None where the envelope is no chaincode invocation.
    """

    entry: BlockTransaction
    level: Level
    organizations: tuple[str, ...]
    transaction: ParsedTransaction | None
    problems: tuple[Text, ...] = ()

    @property
    def is_valid(self) -> bool:
        """Whether the transaction took effect, as far as ``level`` goes."""
        return self.entry.is_valid


class LightNode:
    """Follows one channel. Thread-safe; at most one per store directory.

    ``TrustRootError`` if the profile's trust root is expired or not what it says,
    ``TooFewOrganizations`` if its nodes belong to fewer than two, ``StoreError`` if ``store_dir``
    cannot be used. ``endorsement_policy`` is the chaincode's serialized ``ApplicationPolicy``.
    ``sources`` replaces the profile's peers.
    """

    def __init__(
        self,
        profile: NetworkProfile,
        store_dir: Path,
        identity: SigningIdentity,
        clock: Clock,
        *,
        sources: Sequence[Source] | None = None,
        endorsement_policy: bytes = blocks.DEFAULT_ENDORSEMENT,
    ) -> None:
        self.root = trust.from_profile(profile.trust_root)
        self.root.check_expiry(clock.now())
        self._policies = {profile.chaincode: endorsement_policy}
        self._own_organization = identity.msp_id
        self._cache: dict[int, FullBlock] = {}
        self._cache_lock = threading.Lock()
        start = skip.effective_root(store_dir, self.root)
        self._skipped = start.path
        self._store = HeaderStore(store_dir, start)
        try:
            if sources is None:
                sources = from_profile(profile, self._store.state.config, identity, clock)
            self._sync = ChainSync(start, self._store, sources, clock, store_dir, reporter=identity)
        except errors.ChainError:
            self._store.close()
            raise

    # -- running --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start following the channel in threads of its own; returns at once."""
        self._sync.start()

    def stop(self) -> None:
        """Stop following and close the store."""
        self._sync.stop()
        self._store.close()

    def __enter__(self) -> "LightNode":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def status(self) -> SyncStatus:
        """Return what is verified, who agrees and what is being waited for."""
        return self._sync.status()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with the status after every change, from worker threads."""
        return self._sync.subscribe(listener)

    def wait_height(self, height: int, timeout: float, *, agreed: bool = False) -> bool:
        """Wait until ``height`` blocks (0 to height−1) are verified, or agreed on; False if not."""
        return self._sync.wait_height(height, timeout, agreed=agreed)

    def wait(self, condition: Callable[[SyncStatus], bool], timeout: float) -> bool:
        """Wait until ``condition`` holds for the status; False after ``timeout`` seconds."""
        return self._sync.wait(condition, timeout)

    # -- proofs ---------------------------------------------------------------------------------

    @property
    def config(self) -> ChannelConfig:
        """The verified channel configuration in force at the tip."""
        return self._store.state.config

    @property
    def first_block(self) -> int:
        """The number of the block the store starts from, the lowest one whose hash is known."""
        return self._store.first

    def config_before(self, number: int) -> ChannelConfig:
        """Return the configuration under which a verified block stands; ``NotVerified``."""
        config = self._store.config_before(number)
        if config is None:
            raise errors.NotVerified(Text("block {number} is not verified here", number=number))
        return config

    def config_blocks(self, number: int) -> tuple[bytes, ...]:
        """Return the configuration blocks after the trust root up to block ``number``, in order."""
        return self._skipped + config_blocks(self._store, number)

    def block_hash(self, number: int) -> bytes | None:
        """Return the verified hash of a block, None if it is not verified (yet)."""
        return self._store.hash(number)

    def block(self, number: int) -> FullBlock:
        """Return the full block ``number``, proved against its verified header.

        Fetched from the user's own organisation first, then from the others; ``NotVerified`` if
        the header is not verified yet or nobody serves the data.
        """
        with self._cache_lock:
            known = self._cache.get(number)
        if known is not None and self._is_current(known):
            return known
        expected = self._verified_hash(number)
        refusals: list[str] = []
        for source in self._preferred_sources():
            try:
                full = blocks.open_block(source.block(number), expected)
            except (FabricError, errors.VerificationError) as error:
                refusals.append(Text("{who}: {error}", who=source.organization, error=error))
                continue
            self._show(source, full.block)
            if self._is_outvoted(full):
                refusals.append(
                    Text("{who}: states other flags than the majority", who=source.organization)
                )
                continue
            self._remember(full)
            return full
        raise errors.NotVerified(
            Text(
                "nobody serves block {number}: {refusals}",
                number=number,
                refusals=row_of(refusals),
            )
        )

    def transaction(self, block_number: int, transaction_id: str) -> VerifiedTransaction:
        """Return a transaction of a block with its proof; ``NotVerified`` if it is not in there."""
        full = self.block(block_number)
        entry = full.find(transaction_id)
        if entry is None:
            raise errors.NotVerified(
                Text(
                    "transaction {transaction_id}… is not in block {block_number}",
                    transaction_id=transaction_id[:16],
                    block_number=block_number,
                )
            )
        level, organizations = self.validity_of(full)
        transaction, problems = self.check(entry)
        if entry.is_valid and problems:
            level = Level.DISPUTED
        return VerifiedTransaction(entry, level, organizations, transaction, problems)

    def check(self, entry: BlockTransaction) -> tuple[ParsedTransaction | None, tuple[Text, ...]]:
        """Parse a transaction of a verified block and say what peers should have refused in it.

        (None, ()) where it is no chaincode invocation; see :func:`blocks.check_transaction`.
        """
        if not blocks.is_endorser_transaction(entry):
            return None, ()
        config = self._store.config_before(entry.block_number) or self._store.state.config
        return blocks.check_transaction(config, entry.envelope, self._policies)

    def validity_of(self, full: FullBlock) -> tuple[Level, tuple[str, ...]]:
        """Like :meth:`validity`, of the flags this copy of a block has.

        ``DISPUTED`` when they are not what any peer's stream showed.
        """
        level, organizations = self.validity(full.number)
        shown = self._sync.agreement.shown(full.number).values()
        if validity_digest(full.block) not in (None, *shown):
            level = Level.DISPUTED
        return level, organizations

    def validity(self, number: int) -> tuple[Level, tuple[str, ...]]:
        """Say how far organisations agree on flags and commit hash of a verified block.

        Uses what their streams showed; asks the peers of the others where that is not enough. Where
        they differ and none has a majority, it is looked into, again if it was before.
        """
        expected = self._verified_hash(number)
        shown = self._sync.agreement.shown(number)
        if majority(shown) is None:
            shown = self._ask_validity(number, expected)
        level, organizations = judge(shown)
        if level is Level.DISPUTED:
            self._sync.look_into_flags(number)
        return level, organizations

    def examine(self, number: int) -> None:
        """Have it found out who lies about the flags of a block or of the one before.

        For who read flags that their own commit hash refutes. Asks peers of all organisations for
        theirs; where they differ, those that refute themselves are shut out.
        """
        for at in (number - 1, number):
            if at > self._store.first:
                self.validity(at)

    # -- inside ---------------------------------------------------------------------------------

    def _show(self, source: Source, block: Block) -> None:
        peer = source.kind == "peer"
        if self._sync.agreement.show(source.organization, block, peer=peer):
            self._sync.look_into_flags(block.number)

    def _is_current(self, full: FullBlock) -> bool:
        """Say whether a remembered copy states flags that somebody still stands for."""
        stated = validity_digest(full.block)
        shown = self._sync.agreement.shown(full.number)
        return stated is None or (stated in shown.values() and majority(shown) in (None, stated))

    def _is_outvoted(self, full: FullBlock) -> bool:
        """Say whether a copy states other flags than the majority of organisations."""
        decided = majority(self._sync.agreement.shown(full.number))
        return decided is not None and validity_digest(full.block) not in (None, decided)

    def _verified_hash(self, number: int) -> bytes:
        expected = self._store.hash(number)
        if expected is None:
            raise errors.NotVerified(Text("block {number} is not verified yet", number=number))
        return expected

    def _preferred_sources(self) -> list[Source]:
        reachable = self._sync.reachable_sources

        def rank(source: Source) -> tuple[bool, bool, bool]:
            own = source.organization == self._own_organization
            return source not in reachable, source.kind != "peer", not own

        return sorted(self._sync.sources, key=rank)

    def _ask_validity(self, number: int, expected: bytes) -> dict[str, bytes]:
        known = self._sync.agreement.shown(number)
        for source in self._sync.reachable_sources:
            if source.kind != "peer" or source.organization in known:
                continue
            try:
                block = verify.parse(source.block(number, headers_only=True))
                verify.verify_hash(block, expected)
            except (FabricError, errors.VerificationError):
                continue  # its follower reports what is wrong with this source
            self._show(source, block)
        return self._sync.agreement.shown(number)

    def _remember(self, full: FullBlock) -> None:
        if sum(len(entry.envelope) for entry in full.transactions) > _CACHED_BYTES:
            return
        with self._cache_lock:
            while len(self._cache) >= _CACHED_BLOCKS:
                del self._cache[next(iter(self._cache))]
            self._cache[full.number] = full
