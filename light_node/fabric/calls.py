"""Calls at one peer or the next: what is asked again, where, and how long each may take.

Source: docs/fabric-protocol.md 4.7. Only what may be repeated freely is repeated here; the way of a
signed envelope is :mod:`light_node.fabric.commit`'s.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from light_node.clock import Clock
from light_node.fabric.commit import Pace
from light_node.fabric.errors import (
    AlreadyOrdered,
    ClockSkewed,
    EndorseError,
    EndorsersDisagree,
    EvaluateError,
    EventsError,
    FabricError,
    Overloaded,
    TimedOut,
    Unavailable,
    from_rpc_error,
)
from light_node.fabric.methods import Method
from light_node.fabric.peers import LOOK_ROUND_S, Link, Peers
from light_node.fabric.proposal import Proposal
from light_node.i18n import Text

_AT_ONCE_S = 0.1
"""So close to a call's deadline the server's and the client's clocks run out at the same time."""

T = TypeVar("T")


class Calls:
    """The calls of one client over its peers. Thread-safe."""

    def __init__(self, peers: Peers, clock: Clock, pace: Pace) -> None:
        """``pace`` spreads repetitions, and ends them when the client is closed."""
        self._peers, self._clock, self._pace = peers, clock, pace

    def failed(self, link: Link, error: FabricError) -> None:
        """Move on where another peer may do better than ``link``."""
        if isinstance(error, Overloaded | AlreadyOrdered | EndorsersDisagree):
            return  # nothing is wrong with the peer
        if isinstance(error, TimedOut) and error.stage == "commit status":
            return  # the transaction is not committed yet
        if isinstance(
            error, Unavailable | EvaluateError | EndorseError | EventsError | ClockSkewed
        ):
            self._peers.failed(link)

    def call(
        self,
        method: Method,
        request: Any,
        stage: str,
        timeout: float,
        proposal: Proposal | None = None,
        *,
        transaction_id: str = "",
    ) -> Any:
        """Make one call at the peer that is asked now; ``FabricError`` if it fails.

        ``stage`` names the call in errors; ``timeout`` is in seconds.
        """
        link, until = self._peers.current, self._clock.monotonic() + timeout
        try:
            return link.callable(method)(request, timeout=timeout)
        except grpc.RpcError as error:
            about = transaction_id if proposal is None else proposal.transaction_id
            time_is_up = self._clock.monotonic() >= until - _AT_ONCE_S
            found = from_rpc_error(error, stage, about, time_is_up=time_is_up)
            if isinstance(found, ClockSkewed):
                found = found.of_peer(link.name, link.msp_id)
            if not self._pace.stopped:
                self.failed(link, found)
            raise found from error
        except ValueError as error:  # what grpc raises on a channel its owner has closed
            raise Unavailable(Text("the connection was closed"), stage=stage) from error

    def repeat(
        self, attempt: Callable[[float], T], within: float, *, only_overload: bool = False
    ) -> T:
        """Run ``attempt`` again while the peer is overloaded, and after a loss at the next peer.

        With a single peer once more at that one, unless it took all the time there was. Of several
        the first has a quarter of the time and the next half of it: ``attempt`` is given how long.
        A time that one peer refuses may suit another: only where every organisation refuses it is
        this machine's clock to blame.
        """
        until = self._clock.monotonic() + within
        several = len(self._peers.links) > 1
        share = within / (2 if only_overload else 4) if several else within
        tries, refusing = 0, frozenset[str]()
        while True:
            asked = self._peers.current
            try:
                return attempt(share)
            except (Unavailable, EvaluateError, EndorseError, ClockSkewed) as error:
                tries += 1
                if isinstance(error, ClockSkewed):
                    refusing |= error.organizations
                moved = self._peers.current is not asked
                if isinstance(error, Overloaded):
                    again = True
                elif only_overload or tries >= max(2, len(self._peers.links)):
                    again = False
                else:
                    again = moved or not isinstance(
                        error, TimedOut | EvaluateError | EndorseError | ClockSkewed
                    )
                if isinstance(error, ClockSkewed) and self._all_refuse(refusing):
                    raise error.of_all() from error
                left = until - self._clock.monotonic()
                if not again or left <= 0 or self._pace.stopped:
                    raise
                if isinstance(error, TimedOut):
                    # Some peer is silent, perhaps not the one asked: learn which before going on.
                    self._peers.await_comparison(min(LOOK_ROUND_S, left))
                elif not moved:
                    self._pace.pause(tries - 1, left)
            if several:
                share = min(within / 2, max(left, 1.0))

    def _all_refuse(self, organizations: frozenset[str]) -> bool:
        known = {link.msp_id for link in self._peers.links}
        return len(known) > 1 and known <= organizations
