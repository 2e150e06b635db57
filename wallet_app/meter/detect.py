"""Finds out what hangs on a port: protocol, speed and number (docs/meter-protocols.md section 13).

First it listens, because a meter that pushes needs no question and a bus on which others talk must
not be disturbed: one round over three speeds hears, rightly or as rubbish, everything that pushes
at least every ten seconds. What was heard as rubbish says where to look again. Only on a line that
is silent it asks, gentlest first, with reads only. All of it takes 30 s at most.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from light_node.clock import Clock
from wallet_app.i18n import tr
from wallet_app.meter import dlms, dlt645, dlt698, iec62056, p1, sml
from wallet_app.meter.channel import Channel, Timing
from wallet_app.meter.detect_ask import (
    DLMS_SERVERS,
    OTHER_UNITS,
    Found,
    ask_645,
    ask_698,
    ask_d0,
    ask_dlms,
    ask_dlms_first,
    ask_modbus,
    ask_units,
)
from wallet_app.meter.events import Event, Frame, Parser, Problem, Proof
from wallet_app.meter.ports import (
    PORT_FAILURES,
    READ_TIMEOUT_S,
    Line,
    Link,
    PortError,
    PortFactory,
    open_port,
)

__all__ = ["Attempt", "Detection", "Detector", "Found"]

_LONGEST_S = 29.5
_SECOND_LOOK_S = 10.5
_SHORTEST_S = 0.5
_MARKS = (b"\x1b\x1b\x1b\x1b", b"\x7e\xa0", b"\x7e\xa1", b"\x7e\xa8", b"\xe6\xe7\x00")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One thing that was tried and what came back: for the user, and for a report."""

    what: str
    link: Link
    heard_bytes: int
    damaged: int
    result: str


@dataclass(frozen=True, slots=True)
class Detection:
    """The result: the meter if one was found, what was tried, and advice in one line."""

    found: Found | None
    attempts: tuple[Attempt, ...]
    advice: str


@dataclass(frozen=True, slots=True)
class _Step:
    """Listen (``ask`` None) for up to ``seconds``, or ask, at one speed."""

    what: str
    link: Link
    seconds: float
    parsers: tuple[Callable[[], Parser], ...] = ()
    ask: Callable[[Channel, str], Found | None] | None = None
    reply_s: float = 0.5


class Detector:
    """Searches one port; ``scale`` shortens every wait (for tests with simulated meters).

    ``progress(done, total, text)`` is called before every step; ``stop`` ends the search.
    ``address`` is the number on the meter, if it is known: on a line with several meters the
    question for "whoever is there" makes all of them answer at once.
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
        address: str = "",
    ) -> None:
        self._device, self._clock, self._factory = device, clock, factory
        self._progress, self._stop, self._scale = progress, stop or threading.Event(), scale
        self._address = address
        self._attempts: list[Attempt] = []
        self._heard = _Heard(clock)
        self._all: list[tuple[_Step, _Heard]] = []
        self._began = 0.0

    def run(self) -> Detection:
        """Search for up to 30 s; ``PortError`` if the port cannot be opened."""
        self._began = self._clock.monotonic()
        rotation = _rotation()
        found = self._each(rotation)
        if found is None and any(heard.size for _, heard in self._all):
            # Somebody talks without being asked: look at the likeliest speeds again, and longer.
            found = self._each(_second_looks(self._all))
        talks = any(heard.talks for _, heard in self._all)
        if found is None and not talks:
            found = self._each(_asking())
        if found is not None:
            return self._result(found, "")
        if self._stop.is_set():
            return self._result(None, tr("the search was stopped"))
        return self._result(None, self._advice())

    def _each(self, steps: Sequence[_Step]) -> Found | None:
        """Try ``steps`` in order while there is time; return the meter that was found."""
        for step in steps:
            if self._stop.is_set():
                return None
            needed = step.seconds if step.ask else _SHORTEST_S
            if self._left() <= needed * self._scale:
                continue  # a quicker one may still be in time
            done = round(100 * (1 - self._left() / (_LONGEST_S * self._scale)))
            name = tr("{what} at {speed}", what=step.what, speed=step.link)
            self._progress(min(max(done, 0), 100), 100, name)
            found = self._try(step)
            if found is not None:
                return found
        return None

    def _left(self) -> float:
        return _LONGEST_S * self._scale - (self._clock.monotonic() - self._began)

    def _try(self, step: _Step) -> Found | None:
        self._heard = _Heard(self._clock)
        found: Found | None = None
        try:
            line = self._factory(self._device, step.link)
        except PortError:
            if not self._attempts:
                raise
            problem = tr("the port did not open")
            self._attempts.append(Attempt(step.what, step.link, 0, 0, problem))
            return None
        try:
            channel = Channel(
                _Tap(line, self._heard),
                step.link,
                _Several([make() for make in step.parsers]),
                clock=self._clock,
                stop=self._stop,
                timing=self._timing(step),
                count=self._count,
            )
            if step.ask is None:
                seconds = min(step.seconds * self._scale, self._left())
                quiet_s, last = 0.6 * self._scale, step.seconds >= _SECOND_LOOK_S
                found = _listen(channel, seconds, self._heard, quiet_s, last_chance=last)
            else:
                found = step.ask(channel, self._address)
        except PORT_FAILURES as error:
            text = tr("{port} is gone: plug the adapter in again", port=self._device)
            raise PortError(text) from error
        finally:
            line.close()
        if found:
            result = tr("found {meter}", meter=found.meter_id or tr("a meter"))
        else:
            result = self._heard.summary()
        heard = self._heard
        self._all.append((step, heard))
        self._attempts.append(Attempt(step.what, step.link, heard.size, heard.damaged, result))
        return found

    def _timing(self, step: _Step) -> Timing:
        scale = self._scale
        return Timing(reply_s=step.reply_s * scale, retry_s=0.1 * scale, attempts=1, pace=scale)

    def _count(self, event: Event) -> None:
        self._heard.damaged += isinstance(event, Problem)

    def _result(self, found: Found | None, advice: str) -> Detection:
        return Detection(found, tuple(self._attempts), advice)

    def _advice(self) -> str:
        heard = [(step, heard) for step, heard in self._all if heard.size]
        if not heard:
            return tr(
                "nothing was heard: check that the meter has power, that the two wires are not "
                "swapped or the head sits right way up, and whether the meter needs a PIN"
            )
        if all(step.ask is not None for step, _ in heard):
            return tr(
                "answers came but no whole frame: several meters may have answered at once; give "
                "the number printed on the right one"
            )
        if any(each.damaged for _, each in heard):
            return tr(
                "damaged frames were heard: move the head, shorten the cable, or make sure that "
                "no second program or inverter talks on the same line"
            )
        return tr(
            "bytes were heard but no frame: the speed or protocol is none of those tried; "
            "say which meter it is"
        )


class _Heard:
    """What came in during one step, and when."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.size = self.damaged = self.high = self.idle = self.printable = 0
        self.first = self.last = 0.0
        self._tail = b""
        self.marks = False  # a start that only the right speed shows

    def add(self, data: bytes) -> None:
        if not data:
            return
        now = self._clock.monotonic()
        self.first, self.last = self.first or now, now
        self.size += len(data)
        self.high += sum(byte >= 0x80 for byte in data)
        self.idle += data.count(0) + data.count(0xFF)
        plain = bytes(byte & 0x7F for byte in data)
        self.printable += sum(0x20 <= byte < 0x7F or byte in b"\r\n" for byte in plain)
        tail = self._tail + data
        self.marks = self.marks or any(mark in tail for mark in _MARKS)
        self._tail = tail[-8:]

    @property
    def burst_s(self) -> float:
        """Return how long it talked."""
        return self.last - self.first

    @property
    def right_speed(self) -> bool:
        """Say whether this looks like a telegram cut off, and not like a wrong speed."""
        return self.marks or (self.size > 30 and self.printable > 0.9 * self.size)

    @property
    def talks(self) -> bool:
        """Say whether somebody talks, and it is not only the noise of an idle line."""
        return self.size - self.idle > 5

    def summary(self) -> str:
        if not self.size:
            return tr("silence")
        size = tr("{number} bytes", number=self.size)
        if self.damaged:
            return tr("{size}, {number} damaged frames", size=size, number=self.damaged)
        if 2 * self.idle > self.size:
            return tr("{size}, mostly 00 and FF: wrong speed", size=size)
        if self.high == self.size:
            return tr("{size}, all with the top bit: wrong parity", size=size)
        return tr("{size}, no frame", size=size)


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

    def read(self, size: int = 1, wait_s: float = READ_TIMEOUT_S) -> bytes:
        data = self._line.read(size, wait_s)
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


class _Masked:
    """A parser behind the mask of seven bits: what 7E1 looks like when it is read as 8N1."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser

    @property
    def pending(self) -> int:
        return self._parser.pending

    def feed(self, data: bytes) -> list[Event]:
        return self._parser.feed(bytes(byte & 0x7F for byte in data))

    def finish(self) -> list[Event]:
        return self._parser.finish()

    def reset(self) -> None:
        self._parser.reset()


def _old_p1() -> Parser:
    return _Masked(p1.P1Parser())


_D0, _HAN = iec62056.Iec62056Parser, dlms.DlmsParser


def _look(link: Link, seconds: float) -> _Step:
    """Return the step that listens at one speed for everything that pushes at it."""
    parsers: tuple[Callable[[], Parser], ...] = {
        115200: (p1.P1Parser, _HAN),
        9600: (sml.SmlParser, _D0, _old_p1),
        2400: (_HAN, _D0),
    }[link.baud]
    return _Step(tr("listen"), link, seconds, parsers)


_FAST, _MIDDLE = Link(115200, 8, "N"), Link(9600, 8, "N")
_SLOW, _SLOW_NO_PARITY = Link(2400, 8, "E"), Link(2400, 8, "N")


def _rotation() -> list[_Step]:
    """Return the steps that hear every meter that pushes at least every 10 s, at some speed."""
    return [_look(_FAST, 2.8), _look(_MIDDLE, 4.2), _look(_SLOW, 3.6)]


def _second_looks(heard: Sequence[tuple[_Step, "_Heard"]]) -> list[_Step]:
    """Return the speeds to look at again, the likeliest first, from what was heard at others."""
    order: list[Link] = []
    for step, what in heard:
        if what.size and what.right_speed:
            order.append(step.link)
    for step, what in heard:
        if not what.size or what.right_speed:
            continue
        # A fast telegram is over in a tenth of a second; the slower the sender, the longer its bits
        # hold a fast receiver at 00.
        slow = what.burst_s > 0.15
        if step.link == _MIDDLE:
            order += [_SLOW, _SLOW_NO_PARITY] if slow else [_FAST]
        elif step.link == _FAST:
            very = what.idle > 0.9 * what.size
            order += [_SLOW, _SLOW_NO_PARITY] if very else [_MIDDLE]
        elif not slow:
            order += [_FAST]
        else:
            order += [_MIDDLE, _SLOW_NO_PARITY] if what.burst_s < 0.4 else [_SLOW_NO_PARITY]
    order += [_FAST, _MIDDLE, _SLOW, _SLOW_NO_PARITY]
    return [_look(link, _SECOND_LOOK_S) for link in dict.fromkeys(order)]


def _asking() -> list[_Step]:
    """Return the questions for a silent line, the gentlest first; no two steps are alike."""
    plain, even = Link(9600, 8, "N"), Link(9600, 8, "E")
    slow, fast = Link(2400, 8, "N"), Link(19200, 8, "N")
    chinese = [_chinese("DL/T 645", Link(baud, 8, "E")) for baud in (2400, 9600, 1200, 4800)]
    newer = [_chinese("DL/T 698.45", Link(baud, 8, "E")) for baud in (9600, 115200, 2400)]
    modbus_ = [
        _Step(tr("ask {protocol}", protocol="Modbus"), link, 0.6, (), ask_modbus, 0.4)
        for link in (plain, even, slow, fast)
    ]
    hdlc = [
        _Step(tr("ask {protocol}", protocol="DLMS"), link, 0.6 * len(servers), (_HAN,), ask, 0.35)
        for link, servers, ask in (
            (plain, DLMS_SERVERS, ask_dlms),
            (slow, DLMS_SERVERS[:1], ask_dlms_first),
        )
    ]
    # These may take a second and a half to think.
    d0 = [
        _Step(
            tr("ask {protocol}", protocol="IEC 62056-21"),
            Link(baud, 8, "N"),
            2.5,
            (_D0,),
            ask_d0,
            1.6,
        )
        for baud in (300, 9600)
    ]
    units = ", ".join(map(str, OTHER_UNITS))
    others = [
        _Step(tr("ask Modbus units {units}", units=units), link, seconds, (), ask_units, 0.1)
        for link, seconds in ((plain, 1.4), (even, 1.4), (fast, 1.2), (slow, 2.0))
    ]
    # What was asked in vain is asked once more, the meters at home first: an answer may get lost.
    return [*chinese, *newer, *modbus_, *hdlc, *d0, *chinese, *others[:2], *newer, *others[2:]]


def _chinese(protocol: str, link: Link) -> _Step:
    parser, ask = {
        "DL/T 645": (dlt645.Dlt645Parser, ask_645),
        "DL/T 698.45": (dlt698.Dlt698Parser, ask_698),
    }[protocol]
    seconds = 0.55 + 40 * link.byte_s
    return _Step(tr("ask {protocol}", protocol=protocol), link, seconds, (parser,), ask)


def _listen(
    channel: Channel, seconds: float, heard: "_Heard", quiet_s: float, *, last_chance: bool
) -> Found | None:
    """Return a meter whose telegram is proven, or of which two alike came in a row.

    Ends ``quiet_s`` after a burst of bytes that held no frame: another speed is worth more then.
    """
    unproven: dict[str, Frame] = {}

    def convincing(frame: Frame) -> bool:
        if frame.kind != "data" or not (frame.normalized or frame.texts):
            return False
        if frame.proof is not Proof.NONE:
            return True
        if frame.protocol == p1.PROTOCOL and not frame.meter_id:
            return False  # a readout of IEC 62056-21: its lines look the same
        before = unproven.get(frame.protocol)
        unproven[frame.protocol] = frame
        return before is not None and before.meter_id == frame.meter_id

    def over() -> bool:
        quiet = heard.size and channel.clock.monotonic() - heard.last > quiet_s
        return bool(quiet) and not unproven and not heard.right_speed

    frame = channel.listen(convincing, seconds, over)
    if frame is not None:
        return _heard_meter(frame, channel.link)
    # One whole telegram without a check sum, and no time for the second: better than nothing.
    single = next(iter(unproven.values()), None)
    return _heard_meter(single, channel.link) if single is not None and last_chance else None


def _heard_meter(frame: Frame, link: Link) -> Found:
    if frame.protocol == p1.PROTOCOL and link.baud == 9600:
        link = Link(9600, 7, "E")  # it was read as 8N1 and masked
    proven = frame.proof is not Proof.NONE
    return Found(frame.protocol, link, frame.meter_id, listen=True, proven=proven)
