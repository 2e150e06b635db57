"""IEC 62056-21 ("D0") readouts: modes A, B, C and D (docs/meter-protocols.md section 6).

``/XXXZident CR LF``, then either ``STX lines ! CR LF ETX BCC`` (proven by the BCC) or, in mode D,
bare lines up to ``!`` that nothing proves: those are taken only if every line is well-formed.
Bytes may come with their parity bit; it is masked.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import reduce
from operator import xor

from wallet_app.i18n import tr
from wallet_app.meter import obis
from wallet_app.meter.events import Event, Frame, Problem, Proof, StreamParser, Value

PROTOCOL = "iec62056_21"
MAX_READOUT = 16_384
BAUDS = {"0": 300, "1": 600, "2": 1200, "3": 2400, "4": 4800, "5": 9600, "6": 19200}
BAUDS_MODE_B = {"A": 600, "B": 1200, "C": 2400, "D": 4800, "E": 9600, "F": 19200}

_STX = 0x02
_MASK = bytes(i & 0x7F for i in range(256))
# The line may hold a STX in front of the identification: /ISk5<02>MT382.
_IDENT = re.compile(rb"/([A-Za-z]{3})([0-9A-Za-z])(\x02?[\x20-\x7e]{0,32})\r?\n")
_IDENT_LENGTH = 40
# The end mark, or a byte that no line can have and that ends the hope for the readout at once.
# So does a line that begins with a slash: the next telegram, and the end of this one was lost.
_LINES_END = re.compile(rb"\n!|([^\r\n\x20-\x7e]|\n/)")
_ETX = re.compile(rb"[\x03\x83]")
# What may stand at the start of something that is read, with the parity bit or without.
_SLASH, _GOES_ON = re.compile(rb"[/\xaf]"), re.compile(rb"[/\xaf\x02\x82\x06\x86]")
_ECHO = re.compile(rb"\x060[0-9A-F]0\r\n")
_ECHO_LENGTH = 6
_SET = re.compile(
    r"(?:(\d{1,3})-(\d{1,3}):)?(\d{1,3}|[A-Z])\.([0-9A-Z]{1,3})(?:\.(\d{1,3}))?"
    r"(?:[*&](\d{1,3}))?((?:\([^()]*\))+)"
)
_MORE_VALUES = re.compile(r"(?:\([^()]*\))+")
_NUMBER = re.compile(r"([+-]?\d{1,12}(?:\.\d{1,9})?)(?:\*([A-Za-z0-9]{0,6}))?")
_METER_NUMBERS = ("0.0.0", "C.1.0", "96.1.0", "96.1.255")
_ELECTRICITY = (None, "0", "1")  # A: none, abstract, electricity
_DEFAULT_UNITS = {"energy": "kWh", "power": "kW", "voltage": "V", "current": "A"}


def sign_on(address: str = "") -> bytes:
    """Return ``/?address!`` CR LF; ``ValueError`` if the address cannot be sent."""
    if not re.fullmatch(r"[0-9A-Za-z ]{0,32}", address):
        raise ValueError(
            tr("{address} is no meter address: up to 32 letters and digits", address=repr(address))
        )
    return f"/?{address}!\r\n".encode("ascii")


def acknowledge(baud_character: str) -> bytes:
    """Return the mode C acknowledgement that asks for the list at the meter's speed."""
    if baud_character not in BAUDS:
        raise ValueError(f"{baud_character!r} names no speed of mode C")
    return f"\x060{baud_character}0\r\n".encode("ascii")


@dataclass(frozen=True, slots=True)
class _Set:
    """One data set of a readout: reduced code ``C.D.E``, channel, value strings."""

    channel: tuple[str | None, str | None]
    code: str
    shown: str
    current: bool
    parts: Sequence[str]


class Iec62056Parser(StreamParser):
    """Finds identifications and readouts in a stream of bytes.

    Events: ``Frame`` of kind ``identification`` as soon as that line is whole, then ``data``;
    ``Problem`` ``checksum``, ``framing`` (mode D with a malformed line), ``incomplete`` or
    ``value`` (total and tariffs disagree).
    """

    protocol = PROTOCOL

    def __init__(self) -> None:
        super().__init__()
        self._ident: Frame | None = None
        self._only_block = False  # lines were spoilt: only what a BCC proves may follow
        self._no_etx = self._no_end = 0  # up to where no ETX, no end of lines is, in all that came

    def reset(self) -> None:
        """Forget what is pending, and the identification seen last."""
        super().reset()
        self._ident, self._only_block = None, False

    def _step(self, start: int, events: list[Event], final: bool) -> int | None:
        if self._ident is None:
            return self._identification(start, events, final)
        first = self._buffer[start] & 0x7F
        if first in b"\r\n\x7f":  # 7F: what a change of speed leaves on the line
            return start + 1
        if first == 0x06:
            head = self._masked(start, _ECHO_LENGTH)
            if len(head) < _ECHO_LENGTH and not final:
                return None
            if _ECHO.fullmatch(head):
                return start + _ECHO_LENGTH
        if first == _STX:
            return self._block(start, events, final)
        if first == ord("/"):
            return self._identification(start, events, final)
        if self._only_block:
            following = _GOES_ON.search(self._buffer, start + 1)
            return following.start() if following else len(self._buffer)
        return self._lines(start, events, final)

    def _identification(self, start: int, events: list[Event], final: bool) -> int | None:
        slash = _SLASH.search(self._buffer, start)
        if slash is None:
            return len(self._buffer)
        if slash.start() > start:
            return slash.start()
        view = self._masked(start, _IDENT_LENGTH)
        match = _IDENT.match(view)
        if match is None:
            undecided = len(view) < _IDENT_LENGTH and b"\n" not in view
            return None if undecided and not final else start + 1
        raw = bytes(self._buffer[start : start + match.end()])
        details: dict[str, str | int] = {
            "manufacturer": match[1].decode("ascii"),
            "baud_char": match[2].decode("ascii"),
            "ident": _shown(match[3].decode("ascii")),
        }
        self._only_block = False
        self._ident = Frame(
            PROTOCOL, "identification", self._offset + start, raw, Proof.NONE, details=details
        )
        events.append(self._ident)
        return start + match.end()

    def _block(self, start: int, events: list[Event], final: bool) -> int | None:
        """Read ``STX … ETX BCC``."""
        limit = min(len(self._buffer), start + MAX_READOUT)
        found = _ETX.search(self._buffer, max(start, self._no_etx - self._offset), limit)
        if found is None:
            self._no_etx = self._offset + limit  # nor for any STX between here and there
        if found is None or found.start() + 1 >= limit:
            if limit - start < MAX_READOUT and not final:
                return None
            return self._fail("incomplete", start, limit - start, events)
        end = found.start() - start
        view = self._masked(start, end + 2)
        raw = bytes(self._buffer[start : start + end + 2])
        if reduce(xor, view[1 : end + 1]) != view[end + 1]:
            return self._fail("checksum", start, len(raw), events)
        assert self._ident is not None  # blocks are looked for behind an identification only
        events += _decode(self._ident, raw, view[1:end], Proof.BCC, self._offset + start)
        self._ident, self._only_block = None, False
        return start + len(raw)

    def _lines(self, start: int, events: list[Event], final: bool) -> int | None:
        """Read the bare lines of mode D up to ``!``."""
        limit = min(len(self._buffer), start + MAX_READOUT)
        begin = max(start, self._no_end - self._offset - 1)
        match = _LINES_END.search(self._masked(begin, limit - begin))
        if match is None:
            self._no_end = self._offset + limit  # nor for lines that begin between here and there
        if self._buffer[start] & 0x7F == ord("!"):
            text_end, end = 0, 1
        elif match is None:
            if limit - start < MAX_READOUT and not final:
                return None
            return self._fail("incomplete", start, limit - start, events)
        else:
            text_end, end = match.start() + begin - start, match.end() + begin - start
            if match[1]:
                kind = "incomplete" if match[1] == b"\n/" else "framing"
                return self._fail(kind, start, end, events)
        view = self._masked(start, end + _IDENT_LENGTH)
        line_end = view.find(b"\n", end)
        if not final and (line_end < 0 or line_end + 1 >= len(view)):
            if len(view) < end + _IDENT_LENGTH:
                return None
        elif view[line_end + 1 : line_end + 2] == b"\x03" and line_end > 0:
            # An ETX: this was a block whose STX was lost, so its BCC can no longer be checked.
            return self._fail("framing", start, line_end + 2, events)
        raw, text = bytes(self._buffer[start : start + end]), view[:text_end]
        if not _all_well_formed(text):
            return self._fail("framing", start, len(raw), events)
        assert self._ident is not None  # lines are looked for behind an identification only
        decoded = _decode(self._ident, raw, text, Proof.NONE, self._offset + start)
        if _doubtful(text, decoded[0]):
            return self._fail("framing", start, len(raw), events)
        self._ident, self._only_block = None, False
        events += decoded
        return start + len(raw)

    def _fail(self, kind: str, start: int, length: int, events: list[Event]) -> int:
        raw = bytes(self._buffer[start : start + length])
        events.append(Problem(kind, self._offset + start, raw))
        self._only_block = True
        return start + 1

    def _masked(self, start: int, length: int = MAX_READOUT) -> bytes:
        return bytes(self._buffer[start : start + length]).translate(_MASK)


def _all_well_formed(text: bytes) -> bool:
    lines = [line.rstrip("\r") for line in text.decode("ascii").split("\n")]
    return all(_whole_line(line) for line in lines if line)


def _doubtful(text: bytes, frame: Frame) -> bool:
    """Say whether values look damaged that no check sum proves."""
    current = [each for each in _sets(text) if each.current and obis.quantity(each.code)]
    matches = [(each, _NUMBER.fullmatch(each.parts[0].strip())) for each in current]
    numbers = [(obis.quantity(e.code) + (m[2] or ""), m[1]) for e, m in matches if m]
    return (
        obis.shapes_differ(numbers)
        or obis.tariffs_missing([each.code for each in current])
        or obis.phases_disagree(frame.normalized)
    )


def _whole_line(line: str) -> bool:
    position = 0
    while position < len(line):
        match = _SET.match(line, position) or _MORE_VALUES.match(line, position)
        if match is None:
            return False
        position = match.end()
    return True


def _sets(text: bytes) -> list[_Set]:
    sets = []
    for line in text.decode("ascii").split("\n"):
        # Several sets may share a line; what stands behind the first stray character is not read.
        position = 0
        while match := _SET.match(line, position):
            position = match.end()
            sets.append(_set(match))
    return sets


def _set(match: re.Match[str]) -> _Set:
    a, b, c, d, e, suffix, groups = match.groups()
    last = "0" if e in (None, "255") and d == "7" else e or "0"
    shown = f"{a}-{b}:" if a else ""
    shown += ".".join(part for part in (c, d, e) if part)
    shown += f"*{suffix}" if suffix else ""
    current = suffix in (None, "255")
    return _Set((a, b), f"{c}.{d}.{last}", shown, current, groups[1:-1].split(")("))


def _channel(sets: Sequence[_Set]) -> Sequence[str | None]:
    """Return which channels (B) are the meter's own: 0 or none; 1 where it numbers itself so."""
    measured = {each.channel[1] for each in sets if obis.quantity(each.code)}
    return (None, "0", "1") if measured == {"1"} else (None, "0")


def _decode(
    ident: Frame, raw: bytes, text: bytes, proof: Proof, at: int
) -> tuple[Frame, *tuple[Problem, ...]]:
    values: list[Value] = []
    found: dict[str, Decimal | None] = {}
    strings: dict[str, str] = {}
    sets = [each for each in _sets(text) if each.current]
    channel = _channel(sets)
    for each in sets:
        if each.channel[0] not in _ELECTRICITY or each.channel[1] not in channel:
            continue  # another meter, on a channel of its own
        strings.setdefault(each.code, each.parts[0].strip())
        kind = obis.quantity(each.code)
        if not kind or each.channel[0] == "0":
            continue
        number = _NUMBER.fullmatch(each.parts[0].strip())
        value = None
        if number is not None:
            unit = number[2] or _DEFAULT_UNITS.get(kind, "Hz")
            value = obis.scaled(each.code, Decimal(number[1]), unit)
            values.append(Value(each.shown, Decimal(number[1]), unit))
        if each.parts[0]:
            found.setdefault(each.code, value)
    normalized = obis.normalize(found)
    problems: list[Problem] = []
    if not _tariffs_fit(normalized):
        # The BCC passes two digits with the same bit flipped; the totals do not.
        problems.append(Problem("value", at, raw, "the total differs from the sum of tariffs"))
        normalized = {k: v for k, v in normalized.items() if not k.endswith("_kwh")}
    texts = _texts(strings)
    frame = Frame(
        PROTOCOL,
        "data",
        at,
        ident.raw + raw,
        proof,
        texts.get("meter_id", ""),
        tuple(values),
        normalized,
        texts,
        ident.details,
    )
    return (frame, *problems)


def _tariffs_fit(normalized: dict[str, Decimal]) -> bool:
    for direction in ("import", "export"):
        total = normalized.get(f"{direction}_kwh")
        parts = [v for k, v in normalized.items() if k.startswith(f"{direction}_t")]
        # Some meters show only the tariff in use; more than the total they can never be.
        if total is not None and parts and sum(parts) - total > Decimal("0.02") * len(parts):
            return False
    return True


def _texts(strings: dict[str, str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    number = next((strings[code] for code in _METER_NUMBERS if strings.get(code)), "")
    if number:
        texts["meter_id"] = _shown(number[:64])
    clock = _clock(strings)
    if clock:
        texts["clock"] = clock
    return texts


def _clock(strings: dict[str, str]) -> str:
    def digits(code: str) -> str:
        return re.sub(r"[-:., ]", "", strings.get(code, ""))

    day, hour = digits("0.9.2"), digits("0.9.1")
    both = day[-6:] + hour[-6:] if len(day) in (6, 7) and len(hour) in (6, 7) else digits("1.0.0")
    if len(both) == 13:
        both = both[1:]  # a season digit leads
    if len(both) != 12 or not both.isdecimal():
        return ""
    try:
        return datetime.strptime(both, "%y%m%d%H%M%S").isoformat()  # noqa: DTZ007 (no zone sent)
    except ValueError:
        return ""


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
