"""Reads one meter over a serial port in a thread of its own, through everything a cable does.

Retries, echo, other meters on the bus, unplugging and plugging in again, a port that is busy or
may not be opened, a meter that falls silent (docs/meter-protocols.md sections 4 and 14). Results
come through two callbacks, called from the session's thread; they must not raise.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from light_node.clock import Clock
from wallet_app.meter.dialogue import REFUSED_FOR_S, Dialogue, Exchange, dialogue
from wallet_app.meter.events import Event, Frame, Origin, Problem, Proof, Reading, StreamParser
from wallet_app.meter.ports import (
    PORT_FAILURES,
    READ_TIMEOUT_S,
    Line,
    Link,
    PortError,
    PortFactory,
    PortInfo,
    find_again,
    open_port,
    ports,
)

_DAMAGE = frozenset(("checksum", "framing", "incomplete", "length"))
_CLOCK_JUMP_S = 2.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Waits in seconds of the host's clock; the defaults are docs/meter-protocols.md's."""

    reply_s: float = 1.0  # reaction of the meter, on top of the line time
    retry_s: float = 0.5
    attempts: int = 3
    between_s: float = 0.02
    reopen_s: float = 2.0
    silent_polls: int = 3
    longest_reopen_s: float = 300.0


@dataclass(frozen=True, slots=True)
class MeterStatus:
    """How the session is doing; ``text`` is one line for the user.

    ``state`` is "searching", "reading", "silent", "unplugged" or "error".
    """

    state: str
    port: str
    text: str
    good_frames: int = 0
    bad_frames: int = 0
    last_good: datetime | None = None


@dataclass(slots=True)
class _Poll:
    """What one round of questions brought so far."""

    values: dict[str, Decimal]
    raw: bytes = b""
    proof: Proof = Proof.BCC
    at: tuple[datetime, float] | None = None
    answered: bool = False


class _SilentError(Exception):
    """No good frame for several intervals: close the port and try anew."""


class MeterSession:
    """Polls the meter on ``port`` every ``interval_s`` seconds until :meth:`stop`.

    ``address`` None asks the only meter on the line for its number. ``link`` None tries the
    protocol's usual speeds in turn. ``origin`` goes into every reading; None means simulated on a
    pseudo-terminal, which no real meter is wired to, and meter on every other port.
    """

    def __init__(
        self,
        port: str,
        *,
        protocol: str = "dlt645",
        address: str | None = None,
        interval_s: float,
        clock: Clock,
        on_reading: Callable[[Reading], None],
        on_status: Callable[[MeterStatus], None],
        link: Link | None = None,
        origin: Origin | None = None,
        port_factory: PortFactory = open_port,
        port_list: Callable[[], list[PortInfo]] = ports,
        timing: Timing | None = None,
    ) -> None:
        if interval_s <= 0:
            raise ValueError("the interval between polls must be more than 0 seconds")
        self._dialogue: Dialogue = dialogue(protocol, address)
        self._links = (link,) if link else tuple(self._dialogue.links)
        self._device, self._identity = port, ""
        self._interval_s, self._clock = interval_s, clock
        pseudo = port.startswith("/dev/pts/")
        self._origin = origin or (Origin.SIMULATED if pseudo else Origin.METER)
        self._on_reading, self._on_status = on_reading, on_status
        self._factory, self._port_list = port_factory, port_list
        self._timing = timing or Timing()
        self._status = MeterStatus("searching", port, "not started")
        self._refused: dict[str, float] = {}
        self._gap = ""
        self._clock_offset: float | None = None
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; ``RuntimeError`` if it was started before."""
        if self._thread is not None:
            raise RuntimeError("a meter session is started once")
        self._thread = threading.Thread(target=self._run, name="meter-session", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and give the port back; does nothing when it is not running."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)

    def request_now(self) -> None:
        """Poll at once instead of at the end of the interval."""
        self._wake.set()

    @property
    def status(self) -> MeterStatus:
        """Return the newest status."""
        return self._status

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            link = self._links[failures % len(self._links)]
            try:
                self._device = find_again(self._device, self._identity, self._port_list())
                line = self._factory(self._device, link)
            except PortError as error:
                state = "unplugged" if self._gap else "error"
                self._report(state, str(error))
                self._stop.wait(self._timing.reopen_s)
                continue
            try:
                self._remember_adapter()
                self._serve(line, link)
                failures = 0
            except _SilentError:
                failures += 1
                self._gap = self._gap or "no answer from the meter"
            except PORT_FAILURES:
                self._gap = self._gap or "the adapter was unplugged"
                self._report("unplugged", f"{self._device} is gone: plug the adapter in again")
            finally:
                _close(line)
            self._stop.wait(self._pause(failures))

    def _pause(self, failures: int) -> float:
        # The first round over all speeds goes without a pause growing; then ×2 up to the limit.
        rounds = max(0, failures // len(self._links) - 1)
        return min(self._timing.reopen_s * 2.0 ** min(rounds, 20), self._timing.longest_reopen_s)

    def _remember_adapter(self) -> None:
        known = [port for port in self._port_list() if port.device == self._device]
        self._identity = known[0].identity if known else self._identity

    def _serve(self, line: Line, link: Link) -> None:
        """Poll over an open line until told to stop; raise when it breaks or falls silent."""
        if self._status.state != "reading" or self._gap:
            self._report(
                self._status.state if self._gap else "searching",
                f"looking for a meter on {self._device} at {link}",
            )
        parser = self._dialogue.parser()
        missed = 0
        due = self._clock.monotonic()
        while not self._stop.is_set():
            missed = 0 if self._poll(line, link, parser) else missed + 1
            if missed >= (self._timing.silent_polls if self._links[1:] == () else 1):
                self._report("silent", self._silence(link))
                raise _SilentError
            now = self._clock.monotonic()
            if now >= due:  # a poll asked for in between does not move the rhythm
                due = max(due + self._interval_s, now)
            self._wake.wait(due - now)
            self._wake.clear()

    def _silence(self, link: Link) -> str:
        last = self._status.last_good
        since = f" since {last:%H:%M:%S} UTC" if last else ""
        return (
            f"no answer{since} on {self._device} at {link}: check that the meter has power, the "
            "two wires are not swapped, and the number and speed are right"
        )

    def _poll(self, line: Line, link: Link, parser: StreamParser) -> bool:
        """Ask everything once; deliver a reading and return True if the registers came."""
        question = self._dialogue.identify()
        if question is not None:
            frame = self._ask(line, link, parser, question)
            if frame is None:
                return False
            self._dialogue.identified(frame)
        poll = _Poll({})
        for exchange in self._dialogue.polls():
            if self._stop.is_set():
                return True
            if self._clock.monotonic() < self._refused.get(exchange.key, float("-inf")):
                continue
            frame = self._ask(line, link, parser, exchange)
            if frame is None and exchange.essential:
                return False
            if frame is not None:
                self._take(poll, exchange, frame)
            self._stop.wait(self._timing.between_s)
        if not poll.answered:
            return False
        self._links = (link,)  # this speed is right: never try another
        self._deliver(poll)
        return True

    def _take(self, poll: _Poll, exchange: Exchange, frame: Frame) -> None:
        poll.answered = True
        if frame.kind == "error":
            if frame.details.get("error") == "no such data":
                self._refused[exchange.key] = self._clock.monotonic() + REFUSED_FOR_S
            return
        poll.values.update(frame.normalized)
        poll.raw += frame.raw
        poll.proof = frame.proof
        if poll.at is None:
            poll.at = (self._clock.now(), self._clock.monotonic())

    def _deliver(self, poll: _Poll) -> None:
        at = poll.at or (self._clock.now(), self._clock.monotonic())
        problems = ("clock_jump",) if self._clock_jumped(*at) else ()
        reading = Reading(
            host_time=at[0],
            monotonic=at[1],
            meter_id=self._dialogue.meter_id,
            protocol=self._dialogue.protocol,
            values=poll.values,
            proof=poll.proof,
            raw=poll.raw,
            origin=self._origin,
            after_gap=self._gap,
            problems=problems,
        )
        self._gap = ""
        self._report("reading", f"reading meter {reading.meter_id} on {self._device}", at[0])
        self._on_reading(reading)

    def _clock_jumped(self, now: datetime, monotonic: float) -> bool:
        offset = now.timestamp() - monotonic
        before, self._clock_offset = self._clock_offset, offset
        return before is not None and abs(offset - before) > _CLOCK_JUMP_S

    def _ask(
        self, line: Line, link: Link, parser: StreamParser, exchange: Exchange
    ) -> Frame | None:
        """Send one request up to three times; return the frame that answers it, or None."""
        for attempt in range(self._timing.attempts):
            if attempt and self._stop.wait(self._timing.retry_s):
                return None
            line.reset_input_buffer()
            parser.reset()
            line.write(exchange.request)
            frame = self._answer(line, link, parser, exchange)
            if frame is not None or self._stop.is_set():
                return frame
        return None

    def _answer(
        self, line: Line, link: Link, parser: StreamParser, exchange: Exchange
    ) -> Frame | None:
        line_s = (len(exchange.request) + exchange.reply_bytes) * link.byte_s
        deadline = self._clock.monotonic() + line_s + self._timing.reply_s
        while self._clock.monotonic() < deadline and not self._stop.is_set():
            frame = self._matching(parser.feed(self._read(line)), exchange)
            if frame is not None:
                return frame
        # Whatever is left is a half frame; a good one may be hidden behind a damaged length.
        return self._matching(parser.finish(), exchange)

    def _read(self, line: Line) -> bytes:
        began = self._clock.monotonic()
        data = line.read(1)
        if not data:
            # Some systems return nothing at once, for ever, after an unplug: do not spin.
            if self._clock.monotonic() - began < READ_TIMEOUT_S / 2:
                self._stop.wait(READ_TIMEOUT_S)
            return b""
        waiting = line.in_waiting
        return data + line.read(min(waiting, 4096)) if waiting else data

    def _matching(self, events: list[Event], exchange: Exchange) -> Frame | None:
        found: Frame | None = None
        for event in events:
            if isinstance(event, Problem):
                bad = self._status.bad_frames + (event.kind in _DAMAGE)
                self._status = replace(self._status, bad_frames=bad)
            elif event.kind != "request":
                good = self._status.good_frames + 1
                self._status = replace(self._status, good_frames=good)
                if found is None and exchange.answers(event):
                    found = event
        return found

    def _report(self, state: str, text: str, good: datetime | None = None) -> None:
        last = good or self._status.last_good
        self._status = replace(
            self._status, state=state, port=self._device, text=text, last_good=last
        )
        self._on_status(self._status)


def _close(line: Line) -> None:
    try:
        line.close()
    except PORT_FAILURES:
        return  # it is gone already, which is what was wanted
