"""Finds out what hangs on a port: protocol, speed and number (docs/meter-protocols.md section 13).

First it listens, because a meter that pushes needs no question and a bus on which others talk must
not be disturbed. Then it asks, gentlest first, with reads only. A short round takes about 25 s at
most; only if nothing at all was heard a longer round of listening follows.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from light_node.clock import Clock
from wallet_app.meter import dlms, dlt645, dlt698, iec62056, modbus, p1, sml
from wallet_app.meter.channel import Channel, Exchange, Timing
from wallet_app.meter.dialogue import D0Dialogue
from wallet_app.meter.events import Event, Frame, Parser, Problem, Proof
from wallet_app.meter.ports import PORT_FAILURES, Line, Link, PortError, PortFactory, open_port

_VOLTS = (Decimal(80), Decimal(300))


@dataclass(frozen=True, slots=True)
class Attempt:
    """One thing that was tried and what came back: for the user, and for a report."""

    what: str
    link: Link
    heard_bytes: int
    damaged: int
    result: str


@dataclass(frozen=True, slots=True)
class Found:
    """A meter: enough to open a session. ``proven`` is False for telegrams without check sum."""

    protocol: str
    link: Link
    meter_id: str
    profile: str = ""
    listen: bool = False
    proven: bool = True


@dataclass(frozen=True, slots=True)
class Detection:
    """The result: the meter if one was found, what was tried, and advice in one line."""

    found: Found | None
    attempts: tuple[Attempt, ...]
    advice: str


@dataclass(frozen=True, slots=True)
class _Step:
    """Listen (``ask`` None) or ask at one speed."""

    what: str
    link: Link
    seconds: float
    parsers: tuple[Callable[[], Parser], ...] = ()
    ask: Callable[[Channel], Found | None] | None = None


class Detector:
    """Searches one port; ``scale`` shortens every wait (for tests with simulated meters).

    ``progress(done, total, text)`` is called before every step; ``stop`` ends the search.
    """

    def __init__(
        self,
        device: str,
        clock: Clock,
        *,
        factory: PortFactory = open_port,
        progress: Callable[[int, int, str], None] = lambda done, total, text: None,
        stop: threading.Event | None = None,
        scale: float = 1.0,
    ) -> None:
        self._device, self._clock, self._factory = device, clock, factory
        self._progress, self._stop, self._scale = progress, stop or threading.Event(), scale
        self._attempts: list[Attempt] = []
        self._heard = _Heard()

    def run(self) -> Detection:
        """Search; ``PortError`` if the port cannot be opened."""
        listening, asking = _listening(1.0), _asking()
        steps: list[_Step] = [*listening, *asking, *_listening(3.0)]
        for number, step in enumerate(steps):
            if self._stop.is_set():
                return self._result(None, "the search was stopped")
            silent = not any(a.heard_bytes for a in self._attempts[: len(listening)])
            if step.ask is not None and not silent:
                continue  # somebody talks without being asked: do not talk in between
            if number >= len(listening) + len(asking) and self._attempts_heard():
                continue
            self._progress(number, len(steps), f"{step.what} at {step.link}")
            found = self._try(step)
            if found is not None:
                return self._result(found, "")
        return self._result(None, self._advice())

    def _try(self, step: _Step) -> Found | None:
        self._heard = _Heard()
        found: Found | None = None
        try:
            line = self._factory(self._device, step.link)
        except PortError:
            if not self._attempts:
                raise
            self._attempts.append(Attempt(step.what, step.link, 0, 0, "the port did not open"))
            return None
        try:
            channel = Channel(
                _Tap(line, self._heard),
                step.link,
                _Several([make() for make in step.parsers]),
                clock=self._clock,
                stop=self._stop,
                timing=self._timing(),
                count=self._count,
            )
            if step.ask is None:
                found = _listen(channel, step.seconds * self._scale)
            else:
                found = step.ask(channel)
        except PORT_FAILURES as error:
            raise PortError(f"{self._device} is gone: plug the adapter in again") from error
        finally:
            line.close()
        result = f"found {found.meter_id or 'a meter'}" if found else self._heard.summary()
        heard = self._heard
        self._attempts.append(Attempt(step.what, step.link, heard.size, heard.damaged, result))
        return found

    def _timing(self) -> Timing:
        scale = self._scale
        return Timing(reply_s=0.5 * scale, retry_s=0.1 * scale, attempts=1, pace=scale)

    def _count(self, event: Event) -> None:
        self._heard.damaged += isinstance(event, Problem)

    def _attempts_heard(self) -> bool:
        return any(attempt.heard_bytes for attempt in self._attempts)

    def _result(self, found: Found | None, advice: str) -> Detection:
        return Detection(found, tuple(self._attempts), advice)

    def _advice(self) -> str:
        if not self._attempts_heard():
            return (
                "nothing was heard: check that the meter has power, that the two wires are not "
                "swapped or the head sits right way up, and whether the meter needs a PIN"
            )
        if any(attempt.damaged for attempt in self._attempts):
            return (
                "damaged frames were heard: move the head, shorten the cable, or make sure that "
                "no second program or inverter talks on the same line"
            )
        return (
            "bytes were heard but no frame: the speed or protocol is none of those tried; "
            "say which meter it is"
        )


class _Heard:
    """What came in during one step."""

    def __init__(self) -> None:
        self.size = self.damaged = self.high = self.idle = 0

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self.high += sum(byte >= 0x80 for byte in data)
        self.idle += data.count(0) + data.count(0xFF)

    def summary(self) -> str:
        if not self.size:
            return "silence"
        if self.damaged:
            return f"{self.size} bytes, {self.damaged} damaged frames"
        if 2 * self.idle > self.size:
            return f"{self.size} bytes, mostly 00 and FF: wrong speed"
        if self.high == self.size:
            return f"{self.size} bytes, all with the top bit: wrong parity"
        return f"{self.size} bytes, no frame"


class _Tap:
    """A line that counts what is read from it."""

    def __init__(self, line: Line, heard: _Heard) -> None:
        self._line, self._heard = line, heard

    @property
    def baudrate(self) -> int:
        return self._line.baudrate

    @baudrate.setter
    def baudrate(self, baud: int) -> None:
        self._line.baudrate = baud

    @property
    def in_waiting(self) -> int:
        return self._line.in_waiting

    def read(self, size: int = 1) -> bytes:
        data = self._line.read(size)
        self._heard.add(data)
        return data

    def write(self, data: bytes) -> int | None:
        return self._line.write(data)

    def flush(self) -> None:
        self._line.flush()

    def reset_input_buffer(self) -> None:
        self._line.reset_input_buffer()

    def close(self) -> None:
        self._line.close()


class _Several:
    """Several parsers on the same bytes; whichever understands them wins."""

    def __init__(self, parsers: Sequence[Parser]) -> None:
        self._parsers = parsers

    @property
    def pending(self) -> int:
        return max((parser.pending for parser in self._parsers), default=0)

    def feed(self, data: bytes) -> list[Event]:
        return [event for parser in self._parsers for event in parser.feed(data)]

    def finish(self) -> list[Event]:
        return [event for parser in self._parsers for event in parser.finish()]

    def reset(self) -> None:
        for parser in self._parsers:
            parser.reset()


def _listening(factor: float) -> list[_Step]:
    d0, han = iec62056.Iec62056Parser, dlms.DlmsParser
    return [
        _Step("listen", Link(115200, 8, "N"), 2.5 * factor, (p1.P1Parser, han)),
        _Step("listen", Link(9600, 8, "N"), 4.5 * factor, (sml.SmlParser, d0)),
        _Step("listen", Link(2400, 8, "E"), 3.0 * factor, (han, d0)),
    ]


def _asking() -> list[_Step]:
    steps = [
        _Step("ask DL/T 645", Link(baud, 8, "E"), 1.0, (dlt645.Dlt645Parser,), _ask_645)
        for baud in (2400, 9600, 1200, 4800)
    ]
    steps += [
        _Step("ask DL/T 698.45", Link(baud, 8, "E"), 1.0, (dlt698.Dlt698Parser,), _ask_698)
        for baud in (9600, 115200, 2400)
    ]
    links = (Link(9600, 8, "N"), Link(9600, 8, "E"), Link(2400, 8, "N"), Link(19200, 8, "N"))
    steps += [_Step("ask Modbus unit 1", link, 1.0, (), _ask_modbus) for link in links]
    parsers = (iec62056.Iec62056Parser,)
    steps += [
        _Step("ask IEC 62056-21", Link(baud, 8, "N"), 2.5, parsers, _ask_d0) for baud in (300, 9600)
    ]
    return steps


def _listen(channel: Channel, seconds: float) -> Found | None:
    """Return a meter whose telegram is proven, or of which two alike came in a row."""
    unproven: list[Frame] = []

    def convincing(frame: Frame) -> bool:
        if frame.kind != "data" or not (frame.normalized or frame.texts):
            return False
        if frame.proof is not Proof.NONE:
            return True
        unproven.append(frame)
        last = unproven[-2:]
        return len(last) == 2 and last[0].meter_id == last[1].meter_id

    frame = channel.listen(convincing, seconds)
    if frame is None:
        return None
    proven = frame.proof is not Proof.NONE
    return Found(frame.protocol, channel.link, frame.meter_id, listen=True, proven=proven)


def _ask_645(channel: Channel) -> Found | None:
    request = dlt645.address_request()
    frame = channel.ask(Exchange("address", request, lambda f: f.kind == "address", 22))
    return Found(dlt645.PROTOCOL, channel.link, frame.meter_id) if frame else None


def _ask_698(channel: Channel) -> Found | None:
    request = dlt698.get_request("", [dlt698.ADDRESS])
    frame = channel.ask(Exchange("address", request, lambda f: f.kind in ("data", "error"), 48))
    return Found(dlt698.PROTOCOL, channel.link, frame.meter_id) if frame else None


def _ask_d0(channel: Channel) -> Found | None:
    exchange = D0Dialogue(None).sign_on()
    frame = channel.ask(exchange)
    if frame is None:
        return None
    number = frame.meter_id or str(frame.details.get("ident", ""))
    return Found(iec62056.PROTOCOL, channel.link, number)


# Which registers tell the kinds of meters apart, and the value that must be a voltage there.
_MODBUS_PROBES = (
    ("sdm120", modbus.Request(1, modbus.READ_INPUT, 0x0000, 2)),
    ("dtsu666", modbus.Request(1, modbus.READ_HOLDING, 0x2006, 2)),
    ("ddsu666", modbus.Request(1, modbus.READ_HOLDING, 0x2000, 2)),
    ("adw300", modbus.Request(1, modbus.READ_HOLDING, 20, 1)),
    ("pzem016", modbus.Request(1, modbus.READ_INPUT, 0x0000, 1)),
)
_SDM630_TOTAL = modbus.Request(1, modbus.READ_INPUT, 0x0034, 2)


def _ask_modbus(channel: Channel) -> Found | None:
    present = False
    for name, request in _MODBUS_PROBES:
        frame = _read_modbus(channel, request, name)
        if frame is None and not present:
            return None  # nobody answers at this speed: asking other questions changes nothing
        present = True
        volts = frame.normalized.get("voltage_l1_v") if frame else None
        if volts is None or not _VOLTS[0] <= volts <= _VOLTS[1]:
            continue
        if name == "sdm120":
            total = _read_modbus(channel, _SDM630_TOTAL, "sdm630")
            name = "sdm630" if total is not None and total.kind == "data" else name
        return Found(modbus.PROTOCOL, channel.link, f"{name}-unit-1", name)
    return None


def _read_modbus(channel: Channel, request: modbus.Request, name: str) -> Frame | None:
    channel.parser = modbus.ModbusParser(request, modbus.profile(name))
    wanted = ("data", "exception")
    return channel.ask(Exchange(name, request.encode(), lambda f: f.kind in wanted, 16))
