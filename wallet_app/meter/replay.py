"""Plays a capture back: the same bytes, in the same order, through the protocol's own parser.

For the field tester at the desk: what a meter said can be looked at again, byte by byte and as
readings. They carry the origin "replayed" and the times of the capture; nothing is sent anywhere.
"""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from wallet_app.i18n import tr
from wallet_app.meter import modbus
from wallet_app.meter.capture import Piece
from wallet_app.meter.dialogue import Options, dialogue
from wallet_app.meter.events import Event, Frame, Origin, Problem, Reading
from wallet_app.meter.session import DAMAGE, MeterStatus

_PAUSE = timedelta(seconds=1.0)
_LONGEST_WAIT_S = 5.0


class Collector:
    """Puts the frames of a capture together to readings, as the polls did that brought them."""

    def __init__(self, protocol: str, on_reading: Callable[[Reading], None]) -> None:
        self._protocol, self._on_reading = protocol, on_reading
        self._frames: list[Frame] = []
        self._first = self._newest = datetime.min.replace(tzinfo=UTC)
        self._epoch: datetime | None = None

    def take(self, frame: Frame, at: datetime) -> None:
        """Add a frame that came at ``at``; whatever it does not belong to is handed on first."""
        if frame.kind != "data" or not frame.normalized:
            return
        held = {key for each in self._frames for key in each.normalized}
        other = self._frames and frame.meter_id != self._frames[-1].meter_id
        if self._frames and (other or held & set(frame.normalized) or at - self._newest > _PAUSE):
            self.finish()
        if not self._frames:
            self._first = at
        self._newest = at
        self._frames.append(frame)

    def finish(self) -> None:
        """Hand on what is held."""
        if not self._frames:
            return
        frames, self._frames = self._frames, []
        self._epoch = self._epoch or self._first
        self._on_reading(
            Reading(
                host_time=self._first,
                monotonic=(self._first - self._epoch).total_seconds(),
                meter_id=next((f.meter_id for f in frames if f.meter_id), ""),
                protocol=self._protocol,
                values={key: value for f in frames for key, value in f.normalized.items()},
                proof=frames[-1].proof,
                raw=b"".join(f.raw for f in frames),
                origin=Origin.REPLAYED,
                meter_clock=next((f.texts["clock"] for f in frames if "clock" in f.texts), ""),
            )
        )


class ReplaySession:
    """Replays ``pieces`` in a thread of its own, ``speed`` times as fast; 0 is without any wait.

    Works like :class:`~wallet_app.meter.session.MeterSession`. ``ValueError`` for an unknown
    protocol or a wrong option, or a capture in which nothing was received.
    """

    def __init__(
        self,
        name: str,
        pieces: Sequence[Piece],
        protocol: str,
        options: Options,
        *,
        speed: float,
        on_reading: Callable[[Reading], None],
        on_status: Callable[[MeterStatus], None],
        tap: Callable[[datetime, bool, bytes], None] = lambda time, sent, data: None,
    ) -> None:
        if not any(piece.data and not piece.sent for piece in pieces):
            raise ValueError(tr("nothing was received in this capture"))
        self._pieces, self._speed, self._tap = list(pieces), speed, tap
        self._parser = dialogue(protocol, options).parser()
        self._collector = Collector(protocol, on_reading)
        self._on_status = on_status
        self._status = MeterStatus("searching", name, tr("replaying {name}", name=name))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter-replay", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)

    def request_now(self) -> None:
        """Do nothing: a capture cannot be asked."""

    @property
    def status(self) -> MeterStatus:
        """Return the newest status."""
        return self._status

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until the replay is over; say whether it is."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self._on_status(self._status)
        before: datetime | None = None
        for piece in self._pieces:
            gap = (piece.at - before).total_seconds() if before else 0.0
            if self._speed and self._stop.wait(min(max(gap, 0.0) / self._speed, _LONGEST_WAIT_S)):
                return
            if self._stop.is_set():
                return
            if before is not None and piece.at - before > _PAUSE:
                self._take(self._parser.finish(), before)
            before = piece.at
            self._tap(piece.at, piece.sent, piece.data)
            if piece.sent:
                self._expect(piece.data)
            else:
                self._take(self._parser.feed(piece.data), piece.at)
        if before is not None:
            self._take(self._parser.finish(), before)
        self._collector.finish()
        self._report("stopped", tr("the replay is over"))

    def _expect(self, request: bytes) -> None:
        if not isinstance(self._parser, modbus.ModbusParser):
            return
        self._parser.reset()
        try:
            self._parser.expect(modbus.Request.decode(request))
        except ValueError:
            return  # somebody typed into the capture: the reply to this is not read

    def _take(self, events: Sequence[Event], at: datetime) -> None:
        good, bad = self._status.good_frames, self._status.bad_frames
        for event in events:
            if isinstance(event, Problem):
                bad += event.kind in DAMAGE
            elif event.kind != "request":
                good += 1
                self._collector.take(event, at)
        changed = (good, bad) != (self._status.good_frames, self._status.bad_frames)
        self._status = MeterStatus(
            "reading", self._status.port, self._status.text, good, bad, at if good else None
        )
        if changed:
            self._on_status(self._status)

    def _report(self, state: str, text: str) -> None:
        old = self._status
        self._status = MeterStatus(
            state, old.port, text, old.good_frames, old.bad_frames, old.last_good
        )
        self._on_status(self._status)
