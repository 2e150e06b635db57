"""The light node as trading sees it: :class:`~wallet_app.trading.proofs.Node` over a real one."""

import time
from collections.abc import Callable
from pathlib import Path

from light_node.chain import quarantine
from light_node.chain.auditor import Auditor
from light_node.chain.errors import NotVerified, StoreError, VerificationError
from light_node.chain.node import LightNode
from light_node.chain.status import Level, PeerStatus, SyncStatus
from light_node.clock import Clock
from light_node.fabric.errors import FabricError
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.profile import NetworkProfile
from light_node.i18n import NOTHING
from wallet_app.trading.proofs import Audited, Proven
from wallet_app.trading.view import PeerView, Proof, TrustView

_AGREEMENT_S = 2.0
_AUDITED_BLOCKS = 5_000  # how far back a slot's opening is looked for
_PROOFS = {
    Level.VERIFIED: Proof.VERIFIED,
    Level.AGREED: Proof.AGREED,
    Level.DISPUTED: Proof.DISPUTED,
}


class LightNodeAdapter:
    """Follows the profile's channel; keeps headers below ``directory``."""

    def __init__(
        self, profile: NetworkProfile, directory: Path, identity: SigningIdentity, clock: Clock
    ) -> None:
        """Open the header store; ``ChainError`` if the trust root or the store cannot be used."""
        directory.mkdir(parents=True, exist_ok=True)
        self._node = LightNode(profile, directory, identity, clock)
        self._chaincode = profile.chaincode
        self._auditor = Auditor(self._node, profile.chaincode, max_blocks=_AUDITED_BLOCKS)

    def start(self) -> None:
        """Start following the channel."""
        self._node.start()

    def stop(self) -> None:
        """Stop, and close the store."""
        self._node.stop()

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` from worker threads when anything changed; return how to stop."""
        return self._node.subscribe(lambda _: callback())

    def trust(self) -> TrustView:
        """Return what the Trust screen shows."""
        return trust_view(self._node.status())

    def prove(self, block: int, transaction_id: str, timeout: float) -> Proven | None:
        """Wait for the block to be verified, and a moment for a second organisation to agree.

        None also when nobody serves the block's data now, or the header store cannot be read.
        """
        began = time.monotonic()
        if not self._node.wait_height(block + 1, timeout):
            return None
        self._node.wait_height(block + 1, min(timeout, _AGREEMENT_S), agreed=True)
        try:
            found = self._node.transaction(block, transaction_id)
            # Also while peers differ: with the third one's word a majority may decide.
            while found.level is not Level.AGREED and time.monotonic() - began < _AGREEMENT_S:
                time.sleep(0.05)
                found = self._node.transaction(block, transaction_id)
        except (NotVerified, StoreError, FabricError):
            return None
        except VerificationError:
            return Proven(Proof.DISPUTED, {})
        contested = found.level is not Level.AGREED and not found.problems
        if found.transaction is None or not found.is_valid:
            return Proven(Proof.DISPUTED, {}, contested)
        writes = {
            key: value
            for rwset in found.transaction.rwsets
            if rwset.namespace == self._chaincode
            for key, value in rwset.writes.items()
        }
        return Proven(_PROOFS[found.level], writes, contested)

    def audit(self, slot: str, block: int) -> Audited | None:
        """Replay a slot settled in verified block ``block``; None if its blocks are not at hand."""
        try:
            audit = self._auditor.audit(slot, block)
        except (NotVerified, StoreError, FabricError):
            return None
        except VerificationError as error:  # a peer serves flags that are not in its commit hash
            return Audited(Proof.DISPUTED, error.text, contested=True)
        if not audit.agrees:
            differences = audit.replay.differences
            first = differences[0].text if differences else NOTHING
            return Audited(Proof.DISPUTED, first, contested=audit.level is Level.DISPUTED)
        complete = audit.complete and audit.level is Level.AGREED
        return Audited(Proof.AUDITED if complete else Proof.AGREED)


def trust_view(status: SyncStatus) -> TrustView:
    """Return a light node's status as the screens show it."""
    progress = status.progress
    return TrustView(
        channel=status.channel,
        trust_root=status.trust_root,
        trust_root_expires=status.trust_root_expires,
        trust_root_text=status.trust_root_text,
        height=status.height,
        verified_height=status.verified_height,
        agreed_height=status.agreed_height,
        share=None if progress is None else progress.share,
        blocks_per_s=None if progress is None else progress.blocks_per_s,
        seconds_left=None if progress is None else progress.seconds_left,
        peers=tuple(_peer_view(peer) for peer in status.peers),
        waiting_for=status.waiting_for,
        problem=status.problem,
        blocks_verified=status.blocks_verified,
        signatures_verified=status.signatures_verified,
    )


def _peer_view(peer: PeerStatus) -> PeerView:
    return PeerView(
        organisation=peer.organization,
        address=peer.address,
        state="shut out" if peer.error.kind == quarantine.SHUT_OUT else peer.state.value,
        height=peer.height,
        agrees=peer.agrees,
        last_seen=peer.last_seen,
        error=peer.error,
    )
