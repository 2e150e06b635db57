"""Reads one meter over a serial port in a thread of its own, through everything a cable does.

Retries, echo, other meters on the bus, unplugging and plugging in again, a port that is busy or
may not be opened, a meter that falls silent (docs/meter-protocols.md sections 4 and 14). Results
come through two callbacks, called from the session's thread; they must not raise.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from light_node.clock import Clock
from wallet_app.i18n import tr
from wallet_app.meter.asking import Collected
from wallet_app.meter.channel import Channel, Timing
from wallet_app.meter.dialogue import Dialogue, Options, dialogue
from wallet_app.meter.events import Event, Origin, Parser, Problem, Reading
from wallet_app.meter.ports import (
    PORT_FAILURES,
    Line,
    Link,
    PortError,
    PortFactory,
    PortInfo,
    find_again,
    open_port,
    ports,
)

__all__ = ["MeterSession", "MeterStatus", "Timing"]

DAMAGE = frozenset(("checksum", "framing", "incomplete", "length"))
_CLOCK_JUMP_S = 2.0
_LONGEST_POLL_S = 120.0


@dataclass(frozen=True, slots=True)
class MeterStatus:
    """How the session is doing; ``text`` is one line for the user.

    ``state`` is "searching", "reading", "silent", "unplugged" or "error". The numbers count since
    the session's start: frames, polls and those that brought nothing, gaps between readings.
    """

    state: str
    port: str
    text: str
    good_frames: int = 0
    bad_frames: int = 0
    last_good: datetime | None = None
    link: str = ""
    polls: int = 0
    missed: int = 0
    gaps: int = 0

    def since(self, earlier: "MeterStatus") -> "MeterStatus":
        """Return this status with only what was counted after ``earlier``."""
        return replace(
            self,
            good_frames=self.good_frames - earlier.good_frames,
            bad_frames=self.bad_frames - earlier.bad_frames,
            polls=self.polls - earlier.polls,
            missed=self.missed - earlier.missed,
            gaps=self.gaps - earlier.gaps,
        )

    @property
    def damaged_permille(self) -> int | None:
        """Return damaged frames in a thousand; None before the first frame."""
        total = self.good_frames + self.bad_frames
        return 1000 * self.bad_frames // total if total else None


class _SilentError(Exception):
    """No good frame for several intervals: close the port and try anew."""


class _SleptError(Exception):
    """The machine slept: whatever the port was before, open it anew."""


@dataclass(slots=True)
class _Talk:
    """The conversation with one meter on the line."""

    dialogue: Dialogue
    parser: Parser


class MeterSession:
    """Reads the meter on ``port`` every ``interval_s`` seconds until :meth:`stop`.

    Of a meter that pushes by itself one telegram in ``interval_s`` is taken, and every one with
    registers if the one before had none. ``options`` has what single protocols need.
    ``address`` None asks the only meter on the line for its number; several, with commas between,
    are read in turn. ``link`` None tries the protocol's usual speeds in turn. ``identity`` is the
    adapter's, if it is known from an earlier time: it is found under whatever name it has now.
    ``origin`` goes into every reading; None means simulated on a pseudo-terminal, which no real
    meter is wired to, and meter on every other port.
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
        options: Options | None = None,
        identity: str = "",
        origin: Origin | None = None,
        port_factory: PortFactory = open_port,
        port_list: Callable[[], list[PortInfo]] = ports,
        timing: Timing | None = None,
        tap: Callable[[bool, bytes], None] | None = None,
    ) -> None:
        if interval_s <= 0:
            raise ValueError("the interval between polls must be more than 0 seconds")
        self._protocol = protocol
        several = address.split(",") if address else [None]
        known = options or Options()
        self._options = [replace(known, address=a.strip() if a else None) for a in several]
        dialogues = [dialogue(protocol, each) for each in self._options]
        self._links = (link,) if link else tuple(dialogues[0].links)
        self._device, self._identity = port, identity
        self._interval_s, self._clock = interval_s, clock
        pseudo = port.startswith("/dev/pts/")
        self._origin = origin or (Origin.SIMULATED if pseudo else Origin.METER)
        self._on_reading, self._on_status = on_reading, on_status
        self._factory, self._port_list = port_factory, port_list
        self._timing, self._tap = timing or Timing(), tap
        self._status = MeterStatus("searching", port, tr("not started"))
        # Counted by every frame and poll, and so not in a new MeterStatus each time.
        self._good_frames = self._bad_frames = self._polls = self._missed = 0
        self._gaps = [""] * len(self._options)
        self._clock_offset: float | None = None
        self._had_registers = False
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
        return replace(
            self._status,
            good_frames=self._good_frames,
            bad_frames=self._bad_frames,
            polls=self._polls,
            missed=self._missed,
        )

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            link = self._links[failures % len(self._links)]
            try:
                self._device = find_again(self._device, self._identity, self._port_list())
                line = self._factory(self._device, link)
            except PortError as error:
                state = "unplugged" if any(self._gaps) else "error"
                self._report(state, str(error))
                self._stop.wait(self._timing.reopen_s)
                continue
            try:
                self._remember_adapter()
                self._serve(line, link)
                failures = 0
            except _SleptError:
                self._mark_gap("the computer slept")
            except _SilentError:
                failures += 1
                self._mark_gap("no answer from the meter")
            except PORT_FAILURES:
                self._mark_gap("the adapter was unplugged")
                self._report(
                    "unplugged", tr("{port} is gone: plug the adapter in again", port=self._device)
                )
            finally:
                _close(line)
            self._stop.wait(self._pause(failures))

    def _mark_gap(self, reason: str) -> None:
        if self._status.last_good is not None and not any(self._gaps):
            self._status = replace(self._status, gaps=self._status.gaps + 1)
        self._gaps = [gap or reason for gap in self._gaps]

    def _pause(self, failures: int) -> float:
        # The first round over all speeds goes without a pause growing; then ×2 up to the limit.
        rounds = max(0, failures // len(self._links) - 1)
        return min(self._timing.reopen_s * 2.0 ** min(rounds, 20), self._timing.longest_reopen_s)

    def _remember_adapter(self) -> None:
        known = [port for port in self._port_list() if port.device == self._device]
        self._identity = known[0].identity if known else self._identity

    def _serve(self, line: Line, link: Link) -> None:
        """Read over an open line until told to stop; raise when it breaks or falls silent."""
        self._status = replace(self._status, link=str(link))
        if self._status.state != "reading" or any(self._gaps):
            self._report(
                self._status.state if any(self._gaps) else "searching",
                tr("looking for a meter on {port} at {link}", port=self._device, link=link),
            )
        # New dialogues each time: behind the same adapter may hang another meter now.
        dialogues = [dialogue(self._protocol, options) for options in self._options]
        talks = [_Talk(each, each.parser()) for each in dialogues]
        channel = Channel(
            line,
            link,
            talks[0].parser,
            clock=self._clock,
            stop=self._stop,
            timing=self._timing,
            count=self._count,
            tap=self._tap,
        )
        missed = 0
        due = self._clock.monotonic()
        while not self._stop.is_set():
            began = self._clock.monotonic()
            answered = sum(
                self._poll(index, talk, channel, due) for index, talk in enumerate(talks)
            )
            missed = 0 if answered else missed + 1
            if answered:
                self._links = (link,)  # this speed is right: never try another
            elif not self._stop.is_set() and missed >= (
                self._timing.silent_polls if self._links[1:] == () else 1
            ):
                self._report("silent", self._silence(link))
                raise _SilentError
            due = self._rest(due, listens=talks[0].dialogue.listens)
            if self._slept(began) and not self._stop.is_set():
                raise _SleptError

    def _poll(self, index: int, talk: _Talk, channel: Channel, due: float) -> bool:
        """Read one of the meters on the line; say whether it answered."""
        channel.parser = talk.parser
        collected = talk.dialogue.poll(channel)
        if self._stop.is_set() and collected is None:
            return False
        self._polls += 1
        self._missed += collected is None
        if collected is None:
            return False
        if not talk.dialogue.listens or self._worth(collected, due):
            self._deliver(collected, index)
        return True

    def _slept(self, monotonic: float) -> bool:
        """Say whether the machine slept in the round that began then: it took far too long."""
        spent = self._clock.monotonic() - monotonic
        return spent > self._interval_s + len(self._options) * _LONGEST_POLL_S

    def _rest(self, due: float, *, listens: bool) -> float:
        """Wait for the next poll; return when the one after it is due."""
        now = self._clock.monotonic()
        if now >= due:  # a poll asked for in between does not move the rhythm
            due = max(due + self._interval_s, now)
        if not listens:
            self._wake.wait(due - now)
            self._wake.clear()
        return due

    def _worth(self, collected: Collected, due: float) -> bool:
        """Say whether a pushed telegram is to be delivered, and not only counted."""
        asked = self._wake.is_set()
        self._wake.clear()
        registers = any(key in collected.values for key in ("import_kwh", "export_kwh"))
        # Hourly lists alone have the registers: none of them is passed over.
        rare, self._had_registers = registers and not self._had_registers, registers
        return asked or rare or self._clock.monotonic() >= due

    def _silence(self, link: Link) -> str:
        last = self._status.last_good
        if last is None:
            return tr(
                "no answer on {port} at {link}: check that the meter has power, the two wires are "
                "not swapped, and the number and speed are right",
                port=self._device,
                link=link,
            )
        return tr(
            "no answer since {time} UTC on {port} at {link}: check that the meter has power, the "
            "two wires are not swapped, and the number and speed are right",
            time=f"{last:%H:%M:%S}",
            port=self._device,
            link=link,
        )

    def _deliver(self, collected: Collected, index: int) -> None:
        at = collected.at or (self._clock.now(), self._clock.monotonic())
        problems = ("clock_jump",) if self._clock_jumped(*at) else ()
        reading = Reading(
            host_time=at[0],
            monotonic=at[1],
            meter_id=collected.meter_id,
            protocol=self._protocol,
            values=collected.values,
            proof=collected.proof,
            raw=collected.raw,
            origin=self._origin,
            meter_clock=collected.meter_clock,
            after_gap=self._gaps[index],
            problems=problems,
        )
        self._gaps[index] = ""
        name = reading.meter_id or "without a number"
        self._report(
            "reading", tr("reading meter {name} on {port}", name=name, port=self._device), at[0]
        )
        self._on_reading(reading)

    def _clock_jumped(self, now: datetime, monotonic: float) -> bool:
        offset = now.timestamp() - monotonic
        before, self._clock_offset = self._clock_offset, offset
        return before is not None and abs(offset - before) > _CLOCK_JUMP_S

    def _count(self, event: Event) -> None:
        if not isinstance(event, Problem):
            self._good_frames += 1
        elif event.kind in DAMAGE:
            self._bad_frames += 1

    def _report(self, state: str, text: str, good: datetime | None = None) -> None:
        before = self._status
        self._status = MeterStatus(
            state,
            self._device,
            text,
            self._good_frames,
            self._bad_frames,
            good or before.last_good,
            before.link,
            self._polls,
            self._missed,
            before.gaps,
        )
        self._on_status(self._status)


def _close(line: Line) -> None:
    try:
        line.close()
    except PORT_FAILURES:
        return  # it is gone already, which is what was wanted
