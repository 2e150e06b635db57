"""How to talk to each kind of meter: what to ask, in which order, and what the answers mean.

A dialogue only ever builds requests from its protocol's list of reads. It runs over a
:class:`~wallet_app.meter.channel.Channel` and knows neither threads nor how ports are opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from wallet_app.i18n import tr
from wallet_app.meter import dlms, dlt645, dlt698, iec62056, modbus, p1, sml, sunspec
from wallet_app.meter.asking import REFUSED_FOR_S, Asking, Collected, refused_for_good
from wallet_app.meter.channel import Channel, Exchange
from wallet_app.meter.dlms_dialogue import DlmsDialogue
from wallet_app.meter.events import Frame, StreamParser
from wallet_app.meter.ports import Link

CLOCK_EVERY_S = 3600.0
"""A clock that takes questions of its own is looked at this often: it drifts by seconds a day."""


class Dialogue(Protocol):
    """How to talk to one kind of meter."""

    @property
    def protocol(self) -> str:
        """Return the protocol's name."""
        ...

    @property
    def links(self) -> Sequence[Link]:
        """Return the speeds and formats to try, the usual ones first."""
        ...

    @property
    def listens(self) -> bool:
        """Say whether the meter pushes by itself."""
        ...

    def parser(self) -> StreamParser:
        """Return a new parser for this protocol."""
        ...

    def poll(self, channel: Channel) -> Collected | None:
        """Read the meter once; None if the registers did not come."""
        ...


class Dlt645Dialogue(Asking):
    """DL/T 645-2007: address, then the registers, power, voltage, current and frequency."""

    protocol = dlt645.PROTOCOL
    links = tuple(Link(baud, 8, "E", 1) for baud in (2400, 9600, 1200, 4800))

    def __init__(self, address: str | None) -> None:
        super().__init__()
        self._address = ""
        self._clock_due = float("-inf")
        if address is not None:
            dlt645.address_bytes(address)
            self._address = address.zfill(12).upper()

    def parser(self) -> StreamParser:
        """Return a new parser for this protocol."""
        return dlt645.Dlt645Parser()

    def poll(self, channel: Channel) -> Collected | None:
        """Read the meter once; None if the import register did not come."""
        if not self._address:
            who = Exchange("address", dlt645.address_request(), _is_address, 22)
            frame = channel.ask(who)
            if frame is None:
                return None
            self._address = frame.meter_id
        collected = self._run(channel, self.questions())
        if collected is not None:
            collected.meter_id = self._address
            if channel.clock.monotonic() >= self._clock_due and not channel.stop.is_set():
                self._read_clock(channel, collected)
        return collected

    def _read_clock(self, channel: Channel, collected: Collected) -> None:
        """Look at date and time, now and then; a meter that has none is not asked for a day."""
        asked = Collected()
        parts: dict[str, bytes] = {}
        for question in (self._read(dlt645.DATE), self._read(dlt645.TIME)):
            frame = channel.ask(question)
            if frame is None or frame.kind != "data":
                refused = frame is not None and refused_for_good(frame)
                wait = REFUSED_FOR_S if refused else CLOCK_EVERY_S
                self._clock_due = channel.clock.monotonic() + wait
                return
            asked.raw += frame.raw
            parts[question.key] = bytes((byte - 0x33) & 0xFF for byte in frame.raw[10:-2])[4:]
        self._clock_due = channel.clock.monotonic() + CLOCK_EVERY_S
        collected.meter_clock = _clock_text(*parts.values())
        collected.raw += asked.raw

    def questions(self) -> Sequence[Exchange]:
        """Return the questions of one poll, registers first."""
        return (
            self._read(dlt645.IMPORT_TOTAL, essential=True),
            self._read(dlt645.EXPORT_TOTAL),
            self._read(dlt645.POWERS),
            self._read(dlt645.VOLTAGES),
            self._read(dlt645.CURRENTS),
            self._read(dlt645.FREQUENCY),
        )

    def _read(self, di: int, *, essential: bool = False) -> Exchange:
        address, wanted = self._address, f"{di:08X}"

        def answers(frame: Frame) -> bool:
            if frame.meter_id != address:
                return False
            # An error reply does not say what it refuses; it can only mean the question asked.
            refused = frame.kind == "error" and frame.details.get("control") == "D1"
            return refused or (frame.kind == "data" and frame.details.get("di") == wanted)

        request = dlt645.read_request(address, di)
        return Exchange(wanted, request, answers, 40, essential=essential)


def _is_address(frame: Frame) -> bool:
    return frame.kind == "address"


def _clock_text(date: bytes, time: bytes) -> str:
    """Return date (weekday, day, month, year) and time (s, min, h) in BCD as ISO 8601.

    "" if they are impossible, or from either side of a midnight.
    """
    if len(date) != 4 or len(time) != 3 or time[::-1] < b"\x00\x00\x10":
        return ""
    text = f"20{date[:0:-1].hex()}{time[::-1].hex()}"
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").isoformat()  # noqa: DTZ007 (no zone sent)
    except ValueError:
        return ""


class Dlt698Dialogue(Asking):
    """DL/T 698.45: address, then one GET for everything, matched by object."""

    protocol = dlt698.PROTOCOL
    _MOST_FRAGMENTS = 64
    links = tuple(Link(baud, 8, "E", 1) for baud in (9600, 115200, 2400))
    _OBJECTS = (
        dlt698.IMPORT,
        dlt698.EXPORT,
        dlt698.POWER,
        dlt698.VOLTAGE,
        dlt698.CURRENT,
        dlt698.FREQUENCY,
        dlt698.CLOCK,
    )

    def __init__(self, address: str | None) -> None:
        super().__init__()
        self._address = ""
        if address is not None:
            dlt698.address_bytes(address)
            self._address = address.zfill(12).upper()

    def parser(self) -> StreamParser:
        """Return a new parser for this protocol."""
        return dlt698.Dlt698Parser()

    def poll(self, channel: Channel) -> Collected | None:
        """Read the meter once; None if no answer came."""
        if not self._address:
            request = dlt698.get_request("", [dlt698.ADDRESS])
            frame = channel.ask(Exchange("address", request, _is_data, 64))
            if frame is None:
                return None
            self._address = frame.meter_id
        request = dlt698.get_request(self._address, self._OBJECTS)
        question = Exchange("all", request, self._answers, 200, essential=True)
        return self._run(channel, [question])

    def _ask(self, channel: Channel, question: Exchange) -> Frame | None:
        """Ask, and have a reply in fragments sent on by acknowledging each."""
        frame = channel.ask(question)
        for _ in range(self._MOST_FRAGMENTS):
            if frame is None or frame.kind != "fragment":
                break
            number = int(frame.details["fragment"])
            channel.send(dlt698.acknowledge_fragment(self._address, number))
            seconds = question.reply_bytes * channel.link.byte_s + channel.timing.reply_s
            frame = channel.listen(question.answers, seconds)
        return frame

    def _answers(self, frame: Frame) -> bool:
        return frame.kind in ("data", "error", "fragment") and frame.meter_id == self._address


def _is_data(frame: Frame) -> bool:
    return frame.kind == "data"


class ModbusDialogue(Asking):
    """Modbus RTU: the registers of a profile, in few requests, energies first."""

    protocol = modbus.PROTOCOL

    def __init__(self, address: str | None, profile: str) -> None:
        super().__init__()
        self._profile = modbus.profile(profile or "sdm630")
        unit = address or "1"
        if not unit.isdecimal() or not 1 <= int(unit) <= 247:
            raise ValueError(
                tr("{unit} is no Modbus address: a unit from 1 to 247", unit=repr(unit))
            )
        requests = self._profile.requests(int(unit))
        self._requests = {request.encode(): request for request in requests}
        essential = 1 if self._profile.ratios else 0  # ratios come first, then the energies
        self._questions = [
            Exchange(wire.hex(), wire, _is_answer, 5 + 2 * request.count, index <= essential)
            for index, (wire, request) in enumerate(self._requests.items())
        ]
        # There is no number to ask for: profile and unit are all that is known.
        self._meter_id = f"{self._profile.name}-unit-{int(unit)}"
        self._parser = modbus.ModbusParser(None, self._profile)

    @property
    def links(self) -> Sequence[Link]:
        """Return the speeds and formats to try, the usual ones first."""
        usual = Link(self._profile.baud, 8, self._profile.parity, 1)
        others = (Link(9600, 8, "N", 1), Link(9600, 8, "E", 1), Link(2400, 8, "N", 1))
        return tuple(dict.fromkeys((usual, *others, Link(19200, 8, "N", 1))))

    def parser(self) -> StreamParser:
        """Return a new parser for this protocol."""
        self._parser = modbus.ModbusParser(None, self._profile)
        return self._parser

    def poll(self, channel: Channel) -> Collected | None:
        """Read the meter once; None if the energies did not come."""
        collected = self._run(channel, self._questions)
        if collected is not None:
            collected.meter_id = self._meter_id
        return collected

    def _ask(self, channel: Channel, question: Exchange) -> Frame | None:
        self._parser.expect(self._requests[question.request])
        return channel.ask(question)


class SunSpecDialogue(Asking):
    """A SunSpec meter: walks the list of models to the meter's, then reads that one."""

    protocol = modbus.PROTOCOL
    links = (Link(9600, 8, "N", 1), Link(9600, 8, "E", 1), Link(19200, 8, "N", 1))
    _MOST_MODELS = 30

    def __init__(self, address: str | None) -> None:
        super().__init__()
        unit = address or "1"
        if not unit.isdecimal() or not 1 <= int(unit) <= 247:
            raise ValueError(
                tr("{unit} is no Modbus address: a unit from 1 to 247", unit=repr(unit))
            )
        self._unit, self._model_at = int(unit), 0
        self._parser = modbus.ModbusParser(None, modbus.profile("sunspec"))

    def parser(self) -> StreamParser:
        """Return a new parser for this protocol."""
        self._parser = modbus.ModbusParser(None, modbus.profile("sunspec"))
        return self._parser

    def poll(self, channel: Channel) -> Collected | None:
        """Read the meter's model; None if there is none."""
        if not self._model_at:
            self._model_at = self._walk(channel)
        if not self._model_at:
            return None
        frame = self._read(channel, self._model_at, sunspec.WANTED)
        if frame is None or not frame.normalized:
            return None
        collected = Collected(meter_id=f"sunspec-unit-{self._unit}")
        collected.add(frame, channel)
        return collected

    def _walk(self, channel: Channel) -> int:
        """Return where the header of the meter model is, 0 if there is no meter."""
        at = sunspec.START
        for _ in range(self._MOST_MODELS):
            frame = self._read(channel, at, 4 if at == sunspec.START else 2)
            if frame is None:
                return 0
            words = [int(word, 16) for word in str(frame.details["registers"]).split()]
            if at == sunspec.START:
                if tuple(words[:2]) != sunspec.MARKER:
                    return 0
                at, words = at + 2, words[2:]
            model, length = words
            if sunspec.LENGTHS.get(model) == length:
                return at
            at += 2 + length
            if model == 0xFFFF or at > 0xFFFF - sunspec.WANTED:
                return 0
        return 0

    def _read(self, channel: Channel, start: int, count: int) -> Frame | None:
        request = modbus.Request(self._unit, modbus.READ_HOLDING, start, count)
        self._parser.expect(request)
        frame = channel.ask(Exchange(str(start), request.encode(), _is_answer, 5 + 2 * count))
        return frame if frame is not None and frame.kind == "data" else None


def _is_answer(frame: Frame) -> bool:
    return frame.kind in ("data", "exception")


class D0Dialogue:
    """IEC 62056-21 modes A, B and C: sign on, take the meter's speed, read the list.

    Seven data bits with even parity are written as eight bits with the parity computed here:
    the same on the wire, and the port need not be opened again.
    """

    protocol = iec62056.PROTOCOL
    links = (Link(300, 8, "N", 1), Link(9600, 8, "N", 1))
    listens = False
    _LIST_BYTES = 4096

    def __init__(self, address: str | None) -> None:
        self._sign_on = iec62056.sign_on(address or "")

    def parser(self) -> StreamParser:
        """Return a new parser for this protocol."""
        return iec62056.Iec62056Parser()

    def sign_on(self) -> Exchange:
        """Return the request that makes a meter identify itself."""
        return Exchange("sign on", _with_parity(self._sign_on), _is_any, 24)

    def poll(self, channel: Channel) -> Collected | None:
        """Read the list once; the line goes back to the speed it had."""
        start = channel.link.baud
        ident = channel.ask(self.sign_on())
        if ident is None:
            return None
        collected = Collected()
        try:
            if ident.kind == "identification":
                data = self._list(channel, str(ident.details["baud_char"]))
            else:
                data = ident
            if data is None:
                return None
            collected.add(data, channel)
        finally:
            if channel.link.baud != start:
                channel.change_speed(start)
        return collected

    def _list(self, channel: Channel, baud_character: str) -> Frame | None:
        baud = channel.link.baud
        if baud_character in iec62056.BAUDS:
            baud = iec62056.BAUDS[baud_character]
            channel.send(_with_parity(iec62056.acknowledge(baud_character)))
        elif baud_character in iec62056.BAUDS_MODE_B:
            baud = iec62056.BAUDS_MODE_B[baud_character]
        if baud != channel.link.baud:
            channel.change_speed(baud)
        seconds = self._LIST_BYTES * channel.link.byte_s + 2 * channel.timing.reply_s
        return channel.listen(_has_values, seconds)


def _is_any(frame: Frame) -> bool:
    return frame.kind == "identification" or _has_values(frame)


def _with_parity(data: bytes) -> bytes:
    return bytes(byte | 0x80 if byte.bit_count() % 2 else byte for byte in data)


class _Listening:
    """A dialogue with a meter that pushes: the next telegram is the answer."""

    listens = True

    def poll(self, channel: Channel) -> Collected | None:
        """Return the next telegram with values; None if none comes."""
        frame = channel.listen(_has_values, channel.timing.listen_s)
        if frame is None:
            return None
        collected = Collected()
        collected.add(frame, channel)
        return collected


def _has_values(frame: Frame) -> bool:
    return frame.kind == "data" and bool(frame.normalized)


class P1Listener(_Listening):
    """DSMR P1."""

    protocol = p1.PROTOCOL
    links = (Link(115200, 8, "N", 1), Link(9600, 7, "E", 1))

    def __init__(self, key: bytes, auth_key: bytes) -> None:
        p1.P1Parser(key, auth_key)
        self._keys = key, auth_key

    def parser(self) -> StreamParser:
        """Return a new parser for this protocol."""
        return p1.P1Parser(*self._keys)


class SmlListener(_Listening):
    """SML over the optical head."""

    protocol = sml.PROTOCOL
    links = (Link(9600, 8, "N", 1),)

    def parser(self) -> StreamParser:
        """Return a new parser for this protocol."""
        return sml.SmlParser()


class D0Listener(_Listening):
    """IEC 62056-21 mode D; nothing proves these telegrams."""

    protocol = iec62056.PROTOCOL
    links = (Link(9600, 8, "N", 1), Link(2400, 8, "N", 1))

    def parser(self) -> StreamParser:
        """Return a new parser for this protocol."""
        return iec62056.Iec62056Parser()


class DlmsListener(_Listening):
    """DLMS push lists of a customer port."""

    protocol = dlms.PROTOCOL
    links = (Link(2400, 8, "E", 1), Link(2400, 8, "N", 1), Link(115200, 8, "N", 1))

    def __init__(self, key: bytes, auth_key: bytes) -> None:
        dlms.DlmsParser(key, auth_key)
        self._keys = key, auth_key

    def parser(self) -> StreamParser:
        """Return a new parser for this protocol."""
        return dlms.DlmsParser(*self._keys)


@dataclass(frozen=True, slots=True)
class Options:
    """What a dialogue may need to know: meter number or unit, register profile, keys.

    ``listen`` is for IEC 62056-21 only: wait for mode D telegrams instead of asking. ``ask`` is for
    DLMS only: ask the meter (``address`` is its server address, 1 or 1.17) instead of waiting for
    push lists; ``password`` is that of low level security.
    """

    address: str | None = None
    profile: str = ""
    key: bytes = b""
    auth_key: bytes = b""
    listen: bool = False
    ask: bool = False
    password: bytes = b""


PROTOCOLS: Mapping[str, str] = {
    dlt645.PROTOCOL: "DL/T 645-2007",
    modbus.PROTOCOL: "Modbus RTU",
    dlt698.PROTOCOL: "DL/T 698.45",
    p1.PROTOCOL: "DSMR P1",
    sml.PROTOCOL: "SML",
    iec62056.PROTOCOL: "IEC 62056-21",
    dlms.PROTOCOL: "DLMS/COSEM",
}
"""Protocols there are dialogues for, with the names users know."""


def dialogue(protocol: str, options: Options) -> Dialogue:
    """Return the dialogue for ``protocol``; ``ValueError`` for an unknown one or a wrong option."""
    if protocol == dlt645.PROTOCOL:
        return Dlt645Dialogue(options.address)
    if protocol == dlt698.PROTOCOL:
        return Dlt698Dialogue(options.address)
    if protocol == modbus.PROTOCOL and options.profile == "sunspec":
        return SunSpecDialogue(options.address)
    if protocol == modbus.PROTOCOL:
        return ModbusDialogue(options.address, options.profile)
    if protocol == iec62056.PROTOCOL:
        return D0Listener() if options.listen else D0Dialogue(options.address)
    if protocol == p1.PROTOCOL:
        return P1Listener(options.key, options.auth_key)
    if protocol == sml.PROTOCOL:
        return SmlListener()
    if protocol == dlms.PROTOCOL and options.ask:
        return DlmsDialogue(options.address, options.password)
    if protocol == dlms.PROTOCOL:
        return DlmsListener(options.key, options.auth_key)
    raise ValueError(
        tr(
            "no session for the protocol {protocol}; there are: {known}",
            protocol=repr(protocol),
            known=", ".join(PROTOCOLS),
        )
    )
