"""DLMS/COSEM over HDLC or M-Bus: push lists and answers (docs/meter-protocols.md section 9).

Push: ``0F invoke·4 date-time data``; the data are OBIS codes with values in one of several layouts,
or, from Kaifa, values by their place. Encrypted lists need the key the grid operator hands out.
Answers to questions are understood by ``dlms_get``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeGuard

from wallet_app.meter import ciphering, dlms_places, mbus, obis
from wallet_app.meter.axdr import UNITS, Cursor, DlmsError, Item, clock, printable
from wallet_app.meter.dlms_get import Answers
from wallet_app.meter.events import Event, Frame, Problem, Proof, StreamParser, Value
from wallet_app.meter.hdlc import Assembler, HdlcFrame, Wait, next_frame
from wallet_app.meter.mbus import MbusAssembler

PROTOCOL = "dlms"

_FRAME_START = re.compile(rb"[\x68\x7e]")
# APDUs ciphered with keys or in forms other than general-glo-ciphering.
_CIPHERED_TAGS = (*range(0xC8, 0xD8), 0xDC, 0xDD)

_METER_NUMBERS = ("0-0:96.1.0", "0-0:96.1.1", "1-1:0.0.5", "0-0:42.0.0", "1-0:0.0.0")
_KAMSTRUP_SHIFT = {"energy": -2, "power": 0, "current": -2, "voltage": 0}
_MOST_VOLTS = 1000
_MOST_SCALE = 20


@dataclass(slots=True)
class _Push:
    """What one list says."""

    values: list[Value] = field(default_factory=list)
    found: dict[str, Decimal | None] = field(default_factory=dict)
    strings: dict[str, str] = field(default_factory=dict)
    clock: str = ""

    def texts(self) -> dict[str, str]:
        number = next((self.strings[c] for c in _METER_NUMBERS if self.strings.get(c)), "")
        texts = {"meter_id": number} if number else {}
        return texts | ({"clock": self.clock} if self.clock else {})


class DlmsParser(StreamParser):
    """Finds HDLC and M-Bus frames in a stream of bytes and decodes the APDUs they carry.

    Events: ``Frame`` of kind ``data``, ``segment`` (more of the APDU follows), ``block`` (more of
    the answer can be asked for), ``association``, ``request``, ``error``, ``control`` (UA, SNRM …)
    or ``other``; ``Problem`` ``checksum``, ``framing``, ``incomplete``, ``value``, ``length``,
    ``fragment``, ``encrypted``, ``replay`` or ``error_reply``. ``key`` and
    ``auth_key`` are 16 bytes each or empty.
    """

    protocol = PROTOCOL

    def __init__(self, key: bytes = b"", auth_key: bytes = b"") -> None:
        super().__init__()
        self._cipher = ciphering.Deciphering(key, auth_key)
        self._assembler, self._mbus = Assembler(), MbusAssembler()
        self._answers = Answers()

    def reset(self) -> None:
        """Forget what is pending, and parts of a list that is not whole."""
        super().reset()
        self._assembler.reset()
        self._mbus.reset()

    def finish(self) -> list[Event]:
        """Say that nothing more follows; a list of which segments are missing is a problem."""
        events = super().finish()
        for rest in (self._assembler.give_up(), self._mbus.give_up()):
            if rest is not None:
                events.append(Problem("incomplete", *rest, "the rest of the list did not come"))
        return events

    def expect(self, request: bytes) -> None:
        """Take the next answer for one to ``request``; ``ValueError`` if it is no GET."""
        found = next_frame(bytearray(request), 0, 0, final=True)
        what = None if isinstance(found, Wait) else found[1]
        apdu = what.information[3:] if isinstance(what, HdlcFrame) else b""
        try:
            answer = self._answers.take(apdu) if apdu[:1] == b"\xc0" else None
        except DlmsError as error:
            raise ValueError(str(error)) from error
        if answer is None:
            raise ValueError("the request holds no HDLC frame with a DLMS GET and right sums")

    def scaled(self, code: str) -> bool:
        """Say whether the scale of a register was answered already."""
        return self._answers.scaled(code)

    def _step(self, start: int, events: list[Event], final: bool) -> int | None:
        found = _FRAME_START.search(self._buffer, start)
        if found is None:
            return len(self._buffer)
        begin = found.start()
        if self._buffer[begin] == mbus.START:
            framed = mbus.next_frame(self._buffer, begin, self._offset, final=final)
            if framed is None:
                return begin if begin > start else None
            position, part = framed
            if isinstance(part, Problem):
                events.append(part)
            elif part is not None:
                self._take_mbus(part, events)
            return position
        hdlc = next_frame(self._buffer, begin, self._offset, final=final)
        if isinstance(hdlc, Wait):
            return hdlc.position if hdlc.position > start else None
        position, what = hdlc
        if isinstance(what, Problem):
            events.append(what)
        elif what is not None:
            self._take(what, events)
        return position

    def _take(self, frame: HdlcFrame, events: list[Event]) -> None:
        apdu = self._assembler.add(frame) if frame.information else b""
        details: dict[str, str | int] = {"control": f"{frame.control:02X}"}
        if apdu is None:
            events.append(
                Frame(PROTOCOL, "segment", frame.at, frame.raw, Proof.CRC, details=details)
            )
        elif not apdu:
            events.append(
                Frame(PROTOCOL, "control", frame.at, frame.raw, Proof.CRC, details=details)
            )
        else:
            raw, at = self._assembler.raw, self._assembler.at
            self.understand(apdu, _Source(at, raw, Proof.CRC, details), events)

    def _take_mbus(self, frame: mbus.MbusFrame, events: list[Event]) -> None:
        apdu = self._mbus.add(frame)
        if apdu is None:
            events.append(Frame(PROTOCOL, "segment", frame.at, frame.raw, Proof.BCC))
        elif not apdu:
            text = "a part of the list before this one is missing"
            events.append(Problem("fragment", frame.at, frame.raw, text))
        else:
            source = _Source(self._mbus.at, self._mbus.raw, Proof.BCC, {})
            self.understand(apdu, source, events)

    def understand(self, apdu: bytes, source: "_Source", events: list[Event]) -> None:
        """Append what a whole APDU says."""
        try:
            plain = self._decrypted(apdu)
            push = _push(plain)
            answer = self._answers.take(plain) if push is None else None
        except DlmsError as error:
            events.append(Problem(error.kind, source.at, source.raw, str(error)))
            return
        if push is not None:
            normalized = obis.normalize(push.found)
            events.append(source.frame("data", push.values, normalized, push.texts()))
        elif answer is not None:
            source.details |= answer.details
            normalized = obis.normalize(answer.found)
            events.append(source.frame(answer.kind, answer.values, normalized, answer.texts))
            for text in answer.refused:
                events.append(Problem("error_reply", source.at, source.raw, text))
        else:
            source.details["apdu"] = f"{plain[0]:02X}"
            events.append(source.frame("other"))

    def _decrypted(self, apdu: bytes) -> bytes:
        """Return the plain APDU of one that may be ciphered."""
        if apdu[0] in _CIPHERED_TAGS:
            raise DlmsError("encrypted", "encrypted in a way that is not read here")
        if apdu[:2] != ciphering.START:
            return apdu
        cursor = Cursor(apdu, 2)
        title = cursor.take(8)
        body = cursor.take(cursor.length())
        try:
            return self._cipher.plain(title, body, b"\x0f")
        except ciphering.CipherError as error:
            raise DlmsError(error.kind, str(error)) from error


def bare(data: bytes, key: bytes = b"", auth_key: bytes = b"") -> list[Event]:
    """Decode one APDU without any frame around it, as gateways log them; nothing proves it."""
    parser, events = DlmsParser(key, auth_key), list[Event]()
    if data[:1] == b"\x0f" or data[:2] == ciphering.START:
        parser.understand(data, _Source(0, data, Proof.NONE, {}), events)
    return events


@dataclass(slots=True)
class _Source:
    """Where an APDU came from: the frames that carried it, and what proves them."""

    at: int
    raw: bytes
    proof: Proof
    details: dict[str, str | int]

    def frame(
        self,
        kind: str,
        values: Sequence[Value] = (),
        normalized: Mapping[str, Decimal] | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> Frame:
        return Frame(
            PROTOCOL,
            kind,
            self.at,
            self.raw,
            self.proof,
            (texts or {}).get("meter_id", ""),
            tuple(values),
            normalized or {},
            texts or {},
            self.details,
        )


def _push(apdu: bytes) -> _Push | None:
    """Return what a data notification says; None if the APDU is something else."""
    if apdu[:1] != b"\x0f":
        return None
    cursor = Cursor(apdu, 5)
    when = cursor.take(1)[0]
    if when == 0x09:
        when = cursor.take(1)[0]
    if when not in (0x00, 0x0C):
        raise DlmsError("value", "a date and time of an unknown form")
    push = _Push(clock=clock(cursor.take(when)))
    item = cursor.item()
    if not cursor.done():
        raise DlmsError("value", "the list goes on behind its end")
    described = _described(item)
    entries = list(_entries(item)) if described is None else described
    if not entries and isinstance(item, list) and described is None:
        _by_place(item, push)
    elif isinstance(item, list) and len(item) > 1 and not isinstance(item[-2], bytes):
        _number_behind(item[-1], push)
    shifts = _shifts(item, entries)
    for code, value, scale in entries:
        _put(code, value, scale, shifts, push)
    return push


def _shifts(item: Item, entries: Sequence[tuple[str, Item, Sequence[Item]]]) -> dict[str, int]:
    """Return the powers of ten for values without a scaler, by the maker of the list."""
    first = item[0] if isinstance(item, list) and item else None
    if isinstance(first, str) and first.startswith("Kamstrup"):
        # Meters behind current transformers (type 685…) count mA.
        types = [v for code, v, _ in entries if code == "1-1:96.1.1" and isinstance(v, str)]
        behind = any(kind.startswith("685") for kind in types)
        volts = (v for code, v, _ in entries if code.endswith((":32.7.0", ":52.7.0", ":72.7.0")))
        # Newer firmware counts hundredths of a volt.
        fine = any(isinstance(v, int) and v > _MOST_VOLTS for v in volts)
        shifts = {"current": -3 if behind else -2, "voltage": -2 if fine else 0}
        return {**_KAMSTRUP_SHIFT, **shifts}
    if any(value in ("KFM_001", b"KFM_001") for _, value, _ in entries):
        return dict(dlms_places.KAIFA_SHIFT)
    return dict(dlms_places.PLAIN_SHIFT)


def _described(item: Item) -> list[tuple[str, Item, Sequence[Item]]] | None:
    """Return the entries of a list that begins with what its values are; None for other lists.

    Landis+Gyr E450 (Cyprus) and Energomera send the push object list, {class, OBIS, attribute,
    index, …} for each value, and then the values; the list itself is the first of them.
    """
    if not isinstance(item, list) or len(item) < 2 or not isinstance(item[0], list):
        return None
    names = [each for each in item[0] if _is_descriptor(each)]
    if not names or len(names) < len(item[0]):
        return None
    values = item if len(names) == len(item) else item[1:]
    if len(names) != len(values):
        raise DlmsError("value", "the list has not as many values as it describes")
    scales = {
        each[1]: value
        for each, value in zip(names, values, strict=True)
        if each[2] == 3 and isinstance(value, list) and _is_scale(value)
    }
    return [
        (obis.code(each[1]), value, scales.get(each[1], []))
        for each, value in zip(names, values, strict=True)
        if each[2] == 2
    ]


def _is_descriptor(item: Item) -> TypeGuard[list[Any]]:
    return (
        isinstance(item, list)
        and len(item) >= 4
        and isinstance(item[0], int)
        and _is_code(item[1])
        and isinstance(item[2], int)
        and isinstance(item[3], int)
    )


def _entries(item: Item) -> Iterator[tuple[str, Item, Sequence[Item]]]:
    """Yield (code, value, [scaler, unit] or []) for every OBIS code in any of the layouts."""
    if not isinstance(item, list):
        return
    index = 0
    while index < len(item):
        part = item[index]
        if isinstance(part, list):
            yield from _entries(part)
        elif _is_code(part) and index + 1 < len(item):
            assert isinstance(part, bytes)
            skip = 1
            # {class, OBIS, attribute, value}: the attribute stands between.
            if index == 1 and len(item) == 4 and isinstance(item[0], int):
                skip = 2
            value = item[index + skip]
            index += skip
            scale = item[index + 1] if index + 1 < len(item) else None
            if _is_scale(scale):
                assert isinstance(scale, list)
                yield obis.code(part), value, scale
                index += 1
            else:
                yield obis.code(part), value, []
        index += 1


def _is_code(item: Item) -> bool:
    return isinstance(item, bytes) and len(item) == 6 and item[5] == 0xFF


def _is_scale(item: Item) -> bool:
    return isinstance(item, list) and len(item) == 2 and all(isinstance(i, int) for i in item)


def _put(
    code: str, value: Item, scale: Sequence[Item], shifts: dict[str, int], push: _Push
) -> None:
    channel, _, short = code.partition(":")
    if isinstance(value, str | bytes):
        if code == "0-0:1.0.0" and isinstance(value, bytes):
            push.clock = clock(value) or push.clock
        else:
            push.strings.setdefault(code, printable(value))
        return
    if not isinstance(value, int):
        return
    kind = obis.quantity(short)
    number: Decimal | None = None
    if scale:
        scaler, unit = scale
        shown = UNITS.get(unit, "") if isinstance(unit, int) else ""
        if not isinstance(scaler, int) or abs(scaler) > _MOST_SCALE:
            return
        scaled = Decimal(value).scaleb(scaler)
        if shown:
            push.values.append(Value(f"{code}*255", scaled, shown))
        number = obis.scaled(short, scaled, shown)
    elif kind in shifts:
        number = Decimal(value).scaleb(shifts[kind])
    if kind and channel in ("1-0", "1-1"):
        push.found.setdefault(short, number)


def _number_behind(last: Item, push: _Push) -> None:
    """Take the number Austrian lists (Kaifa) end with, which has no code."""
    if isinstance(last, bytes) and 8 <= len(last) <= 16 and last.isdigit():
        push.strings.setdefault("0-0:96.1.0", printable(last))


def _by_place(items: list[Item], push: _Push) -> None:
    """Read a list without codes."""
    known = dlms_places.layout(items)
    if known is None:
        return
    for code, item in zip(known.places, items, strict=False):
        if code == dlms_places.METER and isinstance(item, str | bytes):
            push.strings["0-0:96.1.0"] = printable(item)
        elif code == dlms_places.CLOCK and isinstance(item, bytes):
            push.clock = clock(item) or push.clock
        elif isinstance(item, int) and (kind := obis.quantity(code)):
            push.found[code] = Decimal(item).scaleb(known.shifts[kind])
