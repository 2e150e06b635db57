"""Asking a DLMS meter: association, GET, and what the answers mean (meter-protocols.md 9, Pull).

Reading only, by construction: :func:`get_request` refuses objects that are not on its list, the
association proposes no service but GET, and no function builds SET or ACTION.

A register's number means nothing without its scaler and unit (attribute 3); :class:`Answers` keeps
those it has seen and gives values only for registers whose scale is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from wallet_app.i18n import tr
from wallet_app.meter import crc, obis
from wallet_app.meter.axdr import UNITS, Cursor, DlmsError, Item, clock, printable
from wallet_app.meter.events import Value

PUBLIC_CLIENT = 16
REGISTER, CLOCK, DATA = 3, 8, 1
MAX_APDU = 8192
_CLOCK_CODE, _NUMBER_CODES = "0-0:1.0.0", ("0-0:96.1.0", "0-0:42.0.0")
_POWERS = (1, 2, 16, 21, 22, 41, 42, 61, 62, 36, 56, 76)
_PHASES = (32, 52, 72, 31, 51, 71, 14)
_REGISTERS = (
    *(f"1-0:{c}.8.{tariff}" for c in (1, 2) for tariff in range(5)),
    *(f"1-0:{c}.7.0" for c in (*_POWERS, *_PHASES)),
)
READABLE: Mapping[str, int] = {
    **dict.fromkeys(_REGISTERS, REGISTER),
    _CLOCK_CODE: CLOCK,
    **dict.fromkeys(_NUMBER_CODES, DATA),
}
"""The only objects :func:`get_request` asks for, with their classes."""

_TO_METER = b"\xe6\xe6\x00"
_CONTEXT = bytes.fromhex("A109060760857405080101")
_LOW_SECURITY = bytes.fromhex("8A0207808B0760857405080201")
# InitiateRequest, version 6: of all services only GET and its blocks are proposed.
_INITIATE = bytes.fromhex("BE10040E01000000065F1F0400001010FFFF")
_RESULTS = {
    1: "hardware fault",
    2: "temporarily not available",
    3: "refused",
    4: "no such object",
    9: "object class does not match",
    11: "no such object",
    12: "type does not match",
    13: "out of the scope of access",
    14: "data block not available",
    250: "other error",
}
_DIAGNOSTICS = {
    1: "no reason given",
    2: "application context not supported",
    11: "authentication mechanism not recognised",
    12: "authentication mechanism required",
    13: "authentication failed: wrong password",
    14: "authentication required: give the password",
}


@dataclass(frozen=True, slots=True)
class Station:
    """Who talks to whom: client and server address, the latter upper (logical) and lower.

    ``lower`` None is the one-byte address. ``ValueError`` for what cannot be.
    """

    client: int = PUBLIC_CLIENT
    upper: int = 1
    lower: int | None = None

    def __post_init__(self) -> None:
        if not (1 <= self.client <= 0x7F and 1 <= self.upper <= 0x3FFF):
            raise ValueError(
                tr("client addresses go from 1 to 127, logical devices from 1 to 16383")
            )
        if self.lower is not None and not 0 <= self.lower <= 0x3FFF:
            raise ValueError(tr("physical addresses go from 0 to 16383"))

    @classmethod
    def parse(cls, server: str, client: int = PUBLIC_CLIENT) -> "Station":
        """Return the station for ``LOGICAL`` or ``LOGICAL.PHYSICAL``; "" is 1."""
        parts = server.split(".") if server else ["1"]
        if len(parts) > 2 or not all(p.isascii() and p.isdecimal() and len(p) < 6 for p in parts):
            raise ValueError(
                tr(
                    "{server} is no DLMS server address: a number, or two with a dot (1.17)",
                    server=repr(server),
                )
            )
        return cls(client, int(parts[0]), int(parts[1]) if len(parts) == 2 else None)

    def frame(self, control: int, information: bytes = b"") -> bytes:
        """Return the HDLC frame to the meter."""
        head = self._server() + bytes((self.client << 1 | 1, control))
        size = 2 + len(head) + 2 + (len(information) + 2 if information else 0)
        body = (0xA000 | size).to_bytes(2, "big") + head
        body += crc.x25(body).to_bytes(2, "little")
        if information:
            body += information
            body += crc.x25(body).to_bytes(2, "little")
        return b"\x7e" + body + b"\x7e"

    def _server(self) -> bytes:
        if self.lower is None and self.upper < 0x80:
            return bytes((self.upper << 1 | 1,))
        lower = self.lower or 0
        if self.upper < 0x80 and lower < 0x80:
            return bytes((self.upper << 1, lower << 1 | 1))
        high, low = divmod(self.upper, 0x80)
        high_2, low_2 = divmod(lower, 0x80)
        return bytes((high << 1, low << 1, high_2 << 1, low_2 << 1 | 1))


SNRM, DISC, UA, DM = 0x93, 0x53, 0x73, 0x1F


def association_request(password: bytes = b"") -> bytes:
    """Return the AARQ, without security or with a password (low level security)."""
    if len(password) > 64:
        raise ValueError(tr("passwords of meters have up to 64 bytes"))
    secret = b""
    if password:
        value = bytes((0x80, len(password))) + password
        secret = _LOW_SECURITY + bytes((0xAC, len(value))) + value
    body = _CONTEXT + secret + _INITIATE
    return _TO_METER + bytes((0x60, len(body))) + body


def get_request(code: str, attribute: int, invoke: int) -> bytes:
    """Return a GET of value (2) or scale (3); ``ValueError`` for what is not :data:`READABLE`."""
    kind = READABLE.get(code)
    if kind is None or attribute not in (2, 3) or (attribute == 3 and kind != REGISTER):
        raise ValueError(
            tr(
                "{code} attribute {attribute} is not on the list of what may be read",
                code=code,
                attribute=attribute,
            )
        )
    head = _TO_METER + b"\xc0\x01" + bytes((0xC0 | invoke & 0x0F,)) + kind.to_bytes(2, "big")
    return head + obis.octets(code) + bytes((attribute, 0))


def next_block_request(block: int, invoke: int) -> bytes:
    """Return the GET for the block behind ``block``."""
    return _TO_METER + b"\xc0\x02" + bytes((0xC0 | invoke & 0x0F,)) + block.to_bytes(4, "big")


@dataclass(slots=True)
class Answer:
    """What one APDU of a conversation says; ``kind`` as for frames."""

    kind: str
    values: list[Value] = field(default_factory=list)
    found: dict[str, Decimal | None] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    details: dict[str, str | int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


_Named = tuple[int, str, int]  # class, code, attribute
_MOST_OBJECTS = 64


class Answers:
    """Understands a conversation from its APDUs: which question, then what the answer means."""

    def __init__(self) -> None:
        self._asked: Sequence[_Named] = ()
        self._scales: dict[str, tuple[int, str]] = {}
        self._block, self._data = 0, b""

    def take(self, apdu: bytes) -> Answer | None:
        """Return what ``apdu`` says; None if it is of no kind known here. May raise DlmsError."""
        if apdu[:1] == b"\x60":
            return Answer("request")
        if apdu[:1] == b"\x61":
            return _association(apdu)
        if apdu[:1] == b"\xc0":
            return self._question(apdu)
        if apdu[:1] == b"\xc4":
            return self._answer(apdu)
        if apdu[:1] in (b"\xd8", b"\x0e"):
            return Answer("error", details={"error": "refused"}, refused=["the meter refused it"])
        return None

    def scaled(self, code: str) -> bool:
        """Say whether the scale of a register is known."""
        return code in self._scales

    def _question(self, apdu: bytes) -> Answer:
        cursor = Cursor(apdu, 1)
        kind = cursor.take(2)[0]
        if kind == 0x01:
            self._asked = [_named(cursor)]
        elif kind == 0x03:
            count = cursor.length()
            self._asked = [_named(cursor) for _ in range(min(count, _MOST_OBJECTS))]
        if kind != 0x02:
            self._block, self._data = 0, b""
        return Answer("request", details={"objects": " ".join(map(_shown, self._asked))})

    def _answer(self, apdu: bytes) -> Answer:
        cursor = Cursor(apdu, 1)
        kind = cursor.take(2)[0]
        if kind == 0x02:
            return self._next_block(cursor)
        if kind not in (0x01, 0x03):
            raise DlmsError("value", "an answer of an unknown form")
        return self._results(cursor, cursor.length() if kind == 0x03 else 1)

    def _next_block(self, cursor: Cursor) -> Answer:
        last, number = cursor.take(1)[0], int.from_bytes(cursor.take(4), "big")
        if cursor.take(1)[0]:
            return self._error(Answer("error"), cursor)
        part = cursor.take(cursor.length())
        if number == 1:
            self._data = b""
        elif number != self._block + 1:
            self._block, self._data = 0, b""
            raise DlmsError("fragment", "a block of the answer is missing")
        self._block, self._data = number, self._data + part
        if len(self._data) > MAX_APDU:
            self._block, self._data = 0, b""
            raise DlmsError("length", "an answer longer than any that is asked for")
        if not last:
            return Answer("block", details={"block": number})
        whole, self._block, self._data = self._data, 0, b""
        if len(self._asked) > 1:
            whole_cursor = Cursor(whole)
            return self._results(whole_cursor, whole_cursor.length())
        return self._results(Cursor(b"\x00" + whole), 1)

    def _results(self, cursor: Cursor, count: int) -> Answer:
        answer = Answer("data", details={"objects": " ".join(map(_shown, self._asked))})
        if count != len(self._asked):
            return Answer("other")  # the question was not seen: the numbers mean nothing
        for named in self._asked:
            if cursor.take(1)[0]:
                self._error(answer, cursor)
            else:
                self._put(named, cursor.item(), answer)
        if not cursor.done():
            raise DlmsError("value", "the answer goes on behind its end")
        for short, other in obis.OTHER_DIRECTION.items():
            if other not in answer.found:  # half of a net power: it may flow the other way
                answer.found.pop(short, None)
        if answer.refused and len(self._asked) == len(answer.refused):
            answer.kind = "error"
        return answer

    def _error(self, answer: Answer, cursor: Cursor) -> Answer:
        reason = cursor.take(1)[0]
        text = _RESULTS.get(reason, "error")
        answer.details["error"] = text
        answer.refused.append(f"{text} ({reason})")
        return answer

    def _put(self, named: _Named, item: Item, answer: Answer) -> None:
        kind, code, attribute = named
        if attribute == 3 and kind == REGISTER and isinstance(item, list) and len(item) == 2:
            scaler, unit = item
            if isinstance(scaler, int) and isinstance(unit, int) and -20 <= scaler <= 20:
                if len(self._scales) >= _MOST_OBJECTS:
                    self._scales.clear()
                self._scales[code] = (scaler, UNITS.get(unit, ""))
        elif attribute == 2 and code == _CLOCK_CODE and isinstance(item, bytes):
            if clock(item):
                answer.texts["clock"] = clock(item)
        elif attribute == 2 and code in _NUMBER_CODES and isinstance(item, bytes | str):
            if printable(item):
                answer.texts.setdefault("meter_id", printable(item))
        elif attribute == 2 and kind == REGISTER and isinstance(item, int):
            self._put_register(code, item, answer)

    def _put_register(self, code: str, number: int, answer: Answer) -> None:
        scale = self._scales.get(code)
        if scale is None:
            answer.details["unscaled"] = str(number)
            return
        value, unit = Decimal(number).scaleb(scale[0]), scale[1]
        if unit:
            answer.values.append(Value(f"{code}*255", value, unit))
        channel, _, short = code.partition(":")
        if channel in ("1-0", "1-1"):
            answer.found[short] = obis.scaled(short, value, unit)


def _named(cursor: Cursor) -> _Named:
    kind = int.from_bytes(cursor.take(2), "big")
    name, attribute, selection = cursor.take(6), cursor.take(1)[0], cursor.take(1)[0]
    if selection:
        raise DlmsError("value", "a question with a selection is not understood")
    return kind, obis.code(name), attribute


def _shown(named: _Named) -> str:
    return f"{named[1]}/{named[2]}"


def _association(apdu: bytes) -> Answer:
    """Read an AARE: accepted, or refused with the reason."""
    cursor = Cursor(apdu, 1)
    cursor.length()
    result, diagnostic, initiated = -1, 0, b""
    while not cursor.done():
        tag = cursor.take(1)[0]
        part = cursor.take(cursor.length())
        if tag == 0xA2 and part:
            result = part[-1]
        elif tag == 0xA3 and part:
            diagnostic = part[-1]
        elif tag == 0xBE:
            initiated = part[2:3]
    if result == 0 and initiated != b"\x0e":
        return Answer("association", details={"result": 0})
    reason = _DIAGNOSTICS.get(diagnostic, f"reason {diagnostic}")
    if initiated == b"\x0e":
        reason = "the services asked for are not supported"
    return Answer(
        "error",
        details={"result": result, "error": "association refused"},
        refused=[f"the meter refused the association: {reason}"],
    )
