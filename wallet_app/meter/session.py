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
from wallet_app.meter.channel import Channel, Timing
from wallet_app.meter.dialogue import Collected, Dialogue, Options, dialogue
from wallet_app.meter.events import Event, Origin, Problem, Reading
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

_DAMAGE = frozenset(("checksum", "framing", "incomplete", "length"))
_CLOCK_JUMP_S = 2.0


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


class _SilentError(Exception):
    """No good frame for several intervals: close the port and try anew."""


class MeterSession:
    """Reads the meter on ``port`` every ``interval_s`` seconds until :meth:`stop`.

    Of a meter that pushes by itself one telegram in ``interval_s`` is taken, and every one with
    registers if the one before had none. ``options`` has what single protocols need.
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
        options: Options | None = None,
        origin: Origin | None = None,
        port_factory: PortFactory = open_port,
        port_list: Callable[[], list[PortInfo]] = ports,
        timing: Timing | None = None,
        tap: Callable[[bool, bytes], None] | None = None,
    ) -> None:
        if interval_s <= 0:
            raise ValueError("the interval between polls must be more than 0 seconds")
        self._protocol = protocol
        self._options = replace(options or Options(), address=address)
        self._links = (link,) if link else tuple(self._dialogue().links)
        self._device, self._identity = port, ""
        self._interval_s, self._clock = interval_s, clock
        pseudo = port.startswith("/dev/pts/")
        self._origin = origin or (Origin.SIMULATED if pseudo else Origin.METER)
        self._on_reading, self._on_status = on_reading, on_status
        self._factory, self._port_list = port_factory, port_list
        self._timing, self._tap = timing or Timing(), tap
        self._status = MeterStatus("searching", port, "not started")
        self._gap = ""
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
                self._report(
                    "unplugged", tr("{port} is gone: plug the adapter in again", port=self._device)
                )
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

    def _dialogue(self) -> Dialogue:
        return dialogue(self._protocol, self._options)

    def _serve(self, line: Line, link: Link) -> None:
        """Read over an open line until told to stop; raise when it breaks or falls silent."""
        if self._status.state != "reading" or self._gap:
            self._report(
                self._status.state if self._gap else "searching",
                tr("looking for a meter on {port} at {link}", port=self._device, link=link),
            )
        # A new dialogue each time: behind the same adapter may hang another meter now.
        talk = self._dialogue()
        channel = Channel(
            line,
            link,
            talk.parser(),
            clock=self._clock,
            stop=self._stop,
            timing=self._timing,
            count=self._count,
            tap=self._tap,
        )
        missed = 0
        due = self._clock.monotonic()
        while not self._stop.is_set():
            collected = talk.poll(channel)
            missed = 0 if collected else missed + 1
            if collected is not None:
                self._links = (link,)  # this speed is right: never try another
                if not talk.listens or self._worth(collected, due):
                    self._deliver(collected)
            elif not self._stop.is_set() and missed >= (
                self._timing.silent_polls if self._links[1:] == () else 1
            ):
                self._report("silent", self._silence(link))
                raise _SilentError
            due = self._rest(due, listens=talk.listens)

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

    def _deliver(self, collected: Collected) -> None:
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
            after_gap=self._gap,
            problems=problems,
        )
        self._gap = ""
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
        good, bad = self._status.good_frames, self._status.bad_frames
        if not isinstance(event, Problem):
            self._status = replace(self._status, good_frames=good + 1)
        elif event.kind in _DAMAGE:
            self._status = replace(self._status, bad_frames=bad + 1)

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
