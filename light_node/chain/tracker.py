"""What is known of each source while a channel is followed, and how that is told to people."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from light_node.chain.sources import Source, Stream
from light_node.chain.status import PeerState, PeerStatus
from light_node.fabric import clocks
from light_node.i18n import NOTHING, Text, all_of, any_of

BEHIND_S = 2.0
"""A source whose newest header is not our tip for so long is no longer counted as agreeing."""


@dataclass(frozen=True, slots=True)
class WrongClock:
    """A source refuses this machine's time: its clock is ``ahead`` of it, None if unknown."""

    ahead: timedelta | None


@dataclass
class Tracker:
    """One source. Written under the lock of the sync it belongs to.

    ``height`` is what the source claims, ``matched`` the last block it showed as we know it,
    ``behind_since`` and ``progress`` are monotonic seconds, ``unverified`` are bytes it sent since
    something of it was verified last.
    """

    source: Source
    state: PeerState = PeerState.CONNECTING
    height: int | None = None
    matched: int | None = None
    behind_since: float | None = None
    last_seen: datetime | None = None
    progress: float = 0.0
    unverified: int = 0
    quarantined: bool = False
    examined: bool = False
    error: Text = NOTHING
    foreign: str = ""
    wrong_clock: WrongClock | None = None
    stream: Stream | None = field(default=None, repr=False)

    @property
    def organization(self) -> str:
        """MSP id of the source's organisation."""
        return self.source.organization

    def connected(self, at: datetime) -> None:
        """Note that the source has just shown something that fits."""
        self.state, self.error, self.foreign = PeerState.CONNECTED, NOTHING, ""
        self.wrong_clock = None
        self.last_seen = at

    def agrees(self, now: float) -> bool | None:
        """Say whether it agrees with our tip at monotonic time ``now``; None if unknown."""
        if self.state is PeerState.DISAGREES:
            return False
        if self.state is not PeerState.CONNECTED or self.matched is None or self.examined:
            return None
        if self.behind_since is None:
            return True
        return None if now - self.behind_since > BEHIND_S else True

    def status(self, now: float, *, clock_fits: bool) -> PeerStatus:
        """Return what is shown of it at monotonic time ``now``.

        ``clock_fits``: other organisations take this machine's time, so a clock that differs from
        it is wrong itself.
        """
        error = self.error
        if self.wrong_clock is not None:
            apart = clocks.apart(self.wrong_clock.ahead)
            error = (
                Text(
                    "its clock is {apart}: this machine's time suits other organisations, so its "
                    "operator has to set it",
                    apart=apart,
                )
                if clock_fits
                else Text("its clock is {apart}: set the clock that is wrong", apart=apart)
            )
        return PeerStatus(
            self.organization,
            self.source.address,
            self.source.kind,
            self.state,
            self.height,
            self.agrees(now),
            self.last_seen,
            error,
            self.foreign,
            self.examined,
        )


def mark_behind(trackers: Sequence[Tracker], tip: int, now: float) -> None:
    """Note from when on each source has not shown block ``tip``."""
    for tracker in trackers:
        if tracker.matched is not None and tracker.matched >= tip:
            tracker.behind_since = None
        elif tracker.behind_since is None:
            tracker.behind_since = now


def clock_fits(trackers: Sequence[Tracker]) -> bool:
    """Tell whether a node of some organisation takes this machine's time."""
    return any(t.state is PeerState.CONNECTED for t in trackers)


def claimed_height(trackers: Sequence[Tracker]) -> int | None:
    """Return the largest height claimed by a source that is believed, None before any answered."""
    believed = (t for t in trackers if t.state is not PeerState.DISAGREES)
    return max((t.height for t in believed if t.height is not None), default=None)


def waiting_for(trackers: Sequence[Tracker], verified: int, agreed: int | None) -> Text:
    """Say what has to come before ``verified`` blocks are all there is, and agreed on; or ""."""
    connected = {t.organization for t in trackers if t.state is PeerState.CONNECTED}
    asked = {t.organization for t in trackers if t.state is PeerState.CONNECTING}
    missing = sorted({t.organization for t in trackers} - connected)
    if not connected and all(t.wrong_clock is not None for t in trackers):
        ahead = next((t.wrong_clock.ahead for t in trackers if t.wrong_clock), None)
        return Text(
            "this machine's clock to be set: the clocks of all nodes are {apart}",
            apart=clocks.apart(ahead),
        )
    if not connected:
        return Text("a node of {names} to answer", names=any_of(missing))
    claimed = claimed_height(trackers) or 0
    if claimed > verified:
        return Text("blocks {first} to {last}", first=verified, last=claimed - 1)
    if (agreed or 0) < verified:
        wrong = [t.organization for t in trackers if t.wrong_clock is not None]
        apart = {t.organization for t in trackers if t.state is PeerState.DISAGREES}
        away = [name for name in missing if name not in (*asked, *wrong, *apart)]
        against = [name for name in missing if name in apart and name not in (*asked, *wrong)]
        text = Text("a second organisation to show block {number}", number=verified - 1)
        if away:
            text = Text("{what} ({names} not reachable)", what=text, names=all_of(away))
        if against:
            text = Text(
                "{what} (not {names}, found to contradict)", what=text, names=all_of(against)
            )
        if wrong:
            names = all_of(sorted(set(wrong)))
            text = Text("{what} (wrong clock: {names})", what=text, names=names)
        return text
    return NOTHING
