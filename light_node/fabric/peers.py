"""Which peer a client asks: its own organisation's while that serves, else another one.

One TLS connection to one peer is enough for Fabric's gateway (docs/fabric-protocol.md section 4),
so one dead peer is enough to silence a client. :class:`Peers` holds all peers of a profile, the
own organisation's first, and which of them is asked now: calls that find it dead move on to the
next. :class:`PeerWatch` compares all peers' heights from time to time. It moves away from a peer
that answers but stands still (cut off from the orderers, disk full) and back to the own
organisation's peer once that has caught up.

All a client does moves together: an event stream through one peer and queries through another
would show an event before the state it speaks of.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from light_node.clock import Clock
from light_node.fabric import clocks
from light_node.fabric.connection import connect
from light_node.fabric.identity import SigningIdentity
from light_node.fabric.methods import PROCESS_PROPOSAL, Method
from light_node.fabric.pb import common_pb2
from light_node.fabric.profile import NetworkProfile
from light_node.fabric.proposal import NONCE_BYTES, build_proposal

WATCH_EVERY_S = 10.0
"""Seconds between two comparisons of all peers; one that is found dead has it done at once."""
HOLD_S = 10.0
"""Seconds for which a peer is not returned to after a call to it failed."""
_GRACE_S = 5.0  # a peer may commit this much later than the others before it counts as behind
_ASK_S, _PAUSE_S = 2.0, 1.0
LOOK_ROUND_S = _ASK_S + _PAUSE_S + 1.0
"""Seconds within which a comparison asked for by :attr:`Peers.trouble` has been made."""

_log = logging.getLogger(__name__)


class Link:
    """One peer: ``name`` for people, the organisation that runs it, and its gRPC channel."""

    def __init__(self, name: str, msp_id: str, channel: grpc.Channel) -> None:
        """The channel stays its owner's."""
        self.name, self.msp_id, self.channel = name, msp_id, channel
        self._callables: dict[Method, Callable[..., Any]] = {}

    def __repr__(self) -> str:
        return f"Link({self.name}, {self.msp_id})"

    def callable(self, method: Method) -> Callable[..., Any]:
        """Return the client side of ``method`` at this peer."""
        made = self._callables.get(method)
        if made is None:
            made = self._callables[method] = method.callable(self.channel)
        return made


@dataclass(frozen=True, slots=True)
class Move:
    """Another peer is asked from now on: ``taken``, which may be the preferred one again.

    ``behind`` says how many blocks ``left`` is behind, None if it does not tell. ``ahead`` is how
    far its clock is ahead (negative: behind) where that is why it does not.
    """

    taken: Link
    left: Link
    preferred: bool
    behind: int | None = None
    ahead: timedelta | None = None


class Peers:
    """The peers one client may ask, the preferred one first. Thread-safe.

    ``subscribe`` tells of every change of :attr:`current`, on the thread that made it.
    """

    def __init__(self, links: Sequence[Link], *, monotonic: Callable[[], float]) -> None:
        """``ValueError`` without a peer; ``monotonic`` is the clock's."""
        if not links:
            raise ValueError("there is no peer to ask")
        self.links = tuple(links)
        self._monotonic = monotonic
        self._current = self.links[0]
        self._failed_at: dict[Link, float] = {}
        self._lock = threading.Lock()
        self._listeners: list[Callable[[Link], None]] = []
        self._owned: list[grpc.Channel] = []
        self._serving: tuple[str, ...] = ()
        self._comparisons = 0
        self._compared = threading.Condition(self._lock)
        self._watched = False
        self.trouble = threading.Event()
        """Set when a call failed: :class:`PeerWatch` then compares at once."""

    @classmethod
    def of_profile(
        cls, profile: NetworkProfile, msp_id: str, *, monotonic: Callable[[], float]
    ) -> "Peers":
        """Connect (lazily) to all peers of a profile, those of ``msp_id`` first.

        ``ProfileError`` if the network has no such organisation, ``ValueError`` without peers.
        """
        profile.organization(msp_id)
        ordered = sorted(profile.organizations, key=lambda o: o.msp_id != msp_id)
        links = [
            Link(peer.name, organization.msp_id, connect(peer.address, peer.tls_root_pem))
            for organization in ordered
            for peer in organization.peers
        ]
        made = cls(links, monotonic=monotonic)
        made._owned = [link.channel for link in links]
        return made

    @property
    def current(self) -> Link:
        """The peer that is asked now."""
        return self._current

    @property
    def preferred(self) -> Link:
        """The peer that is asked when all is well."""
        return self.links[0]

    def failed(self, link: Link) -> bool:
        """Note that ``link`` did not serve a call; True if another peer is asked from now on."""
        with self._lock:
            self._failed_at[link] = self._monotonic()
            moves = link is self._current and len(self.links) > 1
            taken = self.links[(self.links.index(link) + 1) % len(self.links)]
        self.trouble.set()
        if moves:
            self.take(taken, link)
        return link is not self._current

    def held(self, link: Link) -> bool:
        """Whether a call to ``link`` failed a moment ago."""
        with self._lock:
            at = self._failed_at.get(link)
        return at is not None and self._monotonic() - at < HOLD_S

    def serving_organizations(self) -> tuple[str, ...]:
        """Return the organisations to endorse while another's peers are silent or stand still.

        Empty when all serve, when nothing was compared yet, and when fewer than two are left: then
        the gateway's own plan is as good as any. A gateway alone would try the silent peers until
        gossip has noticed, half a minute later (docs/fabric-protocol.md 7.4).
        """
        return self._serving

    def found(self, serving: Sequence[Link]) -> None:
        """Take note of a comparison: which peers serve."""
        there = {link.msp_id for link in serving}
        some = 1 < len(there) < len({link.msp_id for link in self.links})
        with self._compared:
            self._serving = tuple(sorted(there)) if some else ()
            self._comparisons += 1
            self._compared.notify_all()

    def watched(self, watched: bool) -> None:
        """Say whether somebody compares the peers, so that it is worth waiting for."""
        with self._compared:
            self._watched = watched
            self._compared.notify_all()

    def await_comparison(self, timeout: float) -> None:
        """Wait until the peers have been compared once more; at most ``timeout`` seconds."""
        with self._compared:
            before = self._comparisons
            self._compared.wait_for(
                lambda: self._comparisons > before or not self._watched, timeout
            )

    def take(self, link: Link, instead_of: Link) -> bool:
        """Ask ``link`` from now on, if it is still ``instead_of`` that is asked; True if so."""
        with self._lock:
            if self._current is not instead_of or link is instead_of:
                return False
            self._current = link
            listeners = list(self._listeners)
        _log.info("%s is asked instead of %s", link.name, instead_of.name)
        for listener in listeners:
            listener(link)
        return True

    def subscribe(self, listener: Callable[[Link], None]) -> Callable[[], None]:
        """Call ``listener`` with every peer newly taken; return how to stop."""
        with self._lock:
            self._listeners.append(listener)

        def stop() -> None:
            with self._lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return stop

    def close(self) -> None:
        """Close the connections that :meth:`of_profile` made."""
        for channel in self._owned:
            channel.close()


class PeerWatch:
    """Keeps a client at the best placed peer, and says when that changes.

    A peer serves when it answers and has every block that peers of two organisations had some
    seconds ago: one organisation alone can neither draw clients to its peer by a height that
    it makes up, nor hold them at a peer that stands still. Of those that serve, the first in the
    order of :attr:`Peers.links` is taken.
    """

    def __init__(
        self,
        peers: Peers,
        heights: Callable[[Sequence[Link]], dict[Link, int]],
        *,
        monotonic: Callable[[], float],
        on_move: Callable[[Move], None] = lambda move: None,
        ahead: Callable[[Link], timedelta | None] = lambda link: None,
    ) -> None:
        """``heights`` asks the peers at once and returns what those that answered said.

        ``ahead`` tells how far the clock of one that refused is ahead, see :meth:`Heights.ahead`.
        ``on_move`` is told, on the watch's thread, only of changes that a comparison confirmed:
        calls that move on for a moment and return are not news.
        """
        self._peers, self._heights, self._on_move = peers, heights, on_move
        self._monotonic, self._ahead = monotonic, ahead
        self._announced = peers.current
        self._common, self._common_at = 0, monotonic() - _GRACE_S
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peers", daemon=True)

    def start(self) -> None:
        """Start watching; with a single peer there is nothing to watch."""
        if len(self._peers.links) > 1:
            self._peers.watched(True)
            self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopping.set()
        self._peers.watched(False)
        self._peers.trouble.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    def compare(self) -> None:
        """Compare all peers once and take the best placed one. (The thread's loop body.)"""
        found = self._heights(self._peers.links)
        serving = [link for link, height in found.items() if height >= self._common]
        rested = [link for link in serving if not self._peers.held(link)]
        self._peers.found(serving)
        current = self._peers.current
        best = next((link for link in self._peers.links if link in (rested or serving)), current)
        if best is not current:
            self._peers.take(best, current)
        self._announce(self._peers.current, found, serving)
        now = self._monotonic()
        if now - self._common_at >= _GRACE_S:
            self._common, self._common_at = max(self._common, _height_of_two(found)), now

    def _announce(self, taken: Link, found: dict[Link, int], serving: list[Link]) -> None:
        left, preferred = self._announced, taken is self._peers.preferred
        if taken is left or taken not in serving or (left in serving and not preferred):
            return
        self._announced = taken
        behind = max(0, self._common - found[left]) if left in found else None
        self._on_move(Move(taken, left, preferred, behind, self._ahead(left)))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._peers.trouble.wait(WATCH_EVERY_S)
            self._peers.trouble.clear()
            if self._stopping.is_set():
                return
            self.compare()
            self._stopping.wait(_PAUSE_S)  # at most one comparison a second, however much fails


def _height_of_two(found: dict[Link, int]) -> int:
    """Return the height that peers of two organisations have; 0 if fewer answered."""
    best: dict[str, int] = {}
    for link, height in found.items():
        best[link.msp_id] = max(best.get(link.msp_id, 0), height)
    return sorted(best.values(), reverse=True)[1] if len(best) > 1 else 0


class Heights:
    """Asks peers themselves, not a gateway that may ask others, how many blocks they have."""

    def __init__(
        self,
        identity: SigningIdentity,
        channel_id: str,
        clock: Clock,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """``identity`` signs the question (``qscc`` GetChainInfo), which any member may ask."""
        self._identity, self._channel_id = identity, channel_id
        self._clock, self._random = clock, random
        self._refused: dict[Link, timedelta | None] = {}

    def ahead(self, link: Link) -> timedelta | None:
        """Return how far a peer's clock is ahead if it refused our time when it was asked last."""
        return self._refused.get(link)

    def __call__(self, links: Sequence[Link]) -> dict[Link, int]:
        """Ask all at once; whoever has not answered within some seconds is left out."""
        calls: list[tuple[Link, Any]] = []
        for link in links:
            proposal = build_proposal(
                self._identity,
                self._channel_id,
                "qscc",
                [b"GetChainInfo", self._channel_id.encode()],
                now=self._clock.now(),
                nonce=self._random(NONCE_BYTES),
            )
            try:
                ask = link.callable(PROCESS_PROPOSAL).future  # type: ignore[attr-defined]
                calls.append((link, ask(proposal.signed, timeout=_ASK_S)))
            except ValueError:  # what grpc raises on a channel its owner has closed
                continue
        found: dict[Link, int] = {}
        refused: dict[Link, timedelta | None] = {}
        for link, call in calls:
            try:
                response = call.result().response
                if response.status == 200:
                    found[link] = common_pb2.BlockchainInfo.FromString(response.payload).height
            except (grpc.RpcError, grpc.FutureCancelledError, DecodeError) as error:
                _log.debug("%s does not tell its height: %s", link.name, error)
                refused[link] = clocks.ahead([str(error)])
        self._refused = refused
        return found
