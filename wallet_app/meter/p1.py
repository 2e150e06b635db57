"""DSMR and ESMR P1: telegrams a meter pushes over its customer port (meter-protocols.md section 7).

``/XXX5ident CR LF CR LF lines ! CRC CR LF``. Version 4 and later carry CRC-16/ARC over ``/`` to
``!``; versions 2.2 and 3 have none, their telegrams are marked as unproven. In Luxembourg and
Austria the telegram comes ciphered (see ``ciphering``), with the CRC inside.
"""

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from wallet_app.meter import ciphering, crc, obis
from wallet_app.meter.events import Event, Frame, Problem, Proof, StreamParser, Value

PROTOCOL = "dsmr_p1"
MAX_TELEGRAM = 16_384

_START = re.compile(rb"/[A-Za-z0-9]{3}[!-~]|\xdb\x08[A-Z]{3}")
_CIPHER_HEAD = 13  # DB 08, title, 82, length
_END = re.compile(rb"\n!([0-9A-Fa-f]{0,4})\r?\n")
_END_OF_INPUT = re.compile(rb"\n!([0-9A-Fa-f]{0,4})\r?\n?\Z")
_LINE = re.compile(
    r"(\d{1,3})-(\d{1,3}):(\d{1,3}\.\d{1,3}\.\d{1,3})(?:\*(\d{1,3}))?((?:\([^()]*\))+)"
)
_VALUES_ONLY = re.compile(r"(?:\([^()]*\))+")
_NUMBER = re.compile(r"(-?\d{1,12}(?:\.\d{1,9})?)(?:\*([A-Za-z0-9]{1,5}))?")
_CLOCK = re.compile(r"(\d{12})([SW]?)")
_METER_NUMBERS = ("0-0:96.1.1", "0-0:96.1.0", "0-0:42.0.0")
_VERSIONED = ("1-3:0.2.8", "0-0:96.1.4")  # only telegrams that have a CRC name their version
_LONGEST_HEAD = 5
_HEAD_CUT = re.compile(rb"[/\xdb]")


class P1Parser(StreamParser):
    """Finds P1 telegrams in a stream of bytes.

    Events: ``Frame`` of kind ``data``; ``Problem`` ``checksum``, ``incomplete`` or ``framing``
    (no CRC where there must be one), ``encrypted``, ``replay`` or ``value``. ``key`` and
    ``auth_key`` are for ciphered telegrams, 16 bytes each or empty.
    """

    protocol = PROTOCOL

    def __init__(self, key: bytes = b"", auth_key: bytes = b"") -> None:
        super().__init__()
        self._cipher = ciphering.Deciphering(key, auth_key)
        self._searched = 0  # up to where the present candidate has no end

    def _step(self, start: int, events: list[Event], final: bool) -> int | None:
        buffer = self._buffer
        found = _START.search(buffer, start)
        if found is None:
            # A start may be cut in two at the end of what is here.
            rest = _HEAD_CUT.search(buffer, max(start, len(buffer) - _LONGEST_HEAD + 1))
            if final or rest is None:
                return len(buffer)
            return rest.start() if rest.start() > start else None
        begin = found.start()
        if begin > start:
            return begin
        if buffer[begin] == ciphering.START[0]:
            return self._ciphered(begin, events, final)
        end = _END.search(buffer, max(begin, begin + self._searched), begin + MAX_TELEGRAM)
        if end is None and final:
            end = _END_OF_INPUT.search(buffer, begin, begin + MAX_TELEGRAM)
        if end is None:
            if len(buffer) - begin < MAX_TELEGRAM and not final:
                self._searched = max(0, len(buffer) - begin - 8)
                return None
            self._searched = 0
            raw = bytes(buffer[begin : begin + MAX_TELEGRAM])
            events.append(Problem("incomplete", self._offset + begin, raw))
            return begin + 1
        self._searched = 0
        raw = bytes(buffer[begin : end.end()])
        proof = _proof(raw[: end.start() + 2 - begin], end[1])
        if proof is None:
            events.append(Problem("checksum", self._offset + begin, raw))
            return begin + 1
        frame = _decode(raw, self._offset + begin, proof)
        unsure = _unsure(raw, frame) if proof is Proof.NONE else ""
        if unsure:
            events.append(Problem("framing", self._offset + begin, raw, unsure))
            return begin + 1
        events.append(frame)
        return end.end()

    def _ciphered(self, begin: int, events: list[Event], final: bool) -> int | None:
        """Read a ciphered telegram: decrypt it, then read what is inside."""
        head = bytes(self._buffer[begin : begin + _CIPHER_HEAD])
        if len(head) > 10 and head[10] != 0x82:
            return begin + 1
        size = int.from_bytes(head[11:13], "big")
        if len(head) == _CIPHER_HEAD and size > MAX_TELEGRAM - _CIPHER_HEAD:
            return begin + 1
        length = _CIPHER_HEAD + size
        raw = bytes(self._buffer[begin : begin + length])
        at = self._offset + begin
        if len(head) < _CIPHER_HEAD or len(raw) < length:
            if not final:
                return None
            events.append(Problem("incomplete", at, raw))
            return begin + 1
        try:
            plain = self._cipher.plain(head[2:10], raw[_CIPHER_HEAD:], b"/")
        except ciphering.CipherError as error:
            events.append(Problem(error.kind, at, raw, str(error)))
            return begin + 1
        end = _END.search(plain)
        proof = _proof(plain[: end.start() + 2], end[1]) if end else None
        if proof is not Proof.CRC:
            events.append(Problem("checksum", at, raw, "inside the ciphered telegram"))
        else:
            events.append(replace(_decode(plain, at, proof), raw=raw))
        return begin + length

    def reset(self) -> None:
        """Forget what is pending; offsets go on counting."""
        super().reset()
        self._searched = 0


def _unsure(raw: bytes, frame: Frame) -> str:
    """Say why a telegram without a CRC cannot be believed; "" if nothing speaks against it.

    Nothing proves such a telegram, so every line must be whole and nothing may be there twice.
    """
    if frame.details.get("version"):
        return "the CRC is missing"
    codes: set[str] = set()
    numbers: list[tuple[str, str]] = []
    for line in raw.decode("latin-1").split("\n")[1:-1]:
        text = line.strip("\r ")
        if text.startswith("!") or not text:
            continue
        match = _LINE.fullmatch(text)
        if match is None and not _VALUES_ONLY.fullmatch(text):
            return "a line is damaged, and there is no CRC"
        code = text.partition("(")[0]
        if match is not None and code in codes:
            return "a value is there twice, and there is no CRC"
        codes.add(code)
        if match is not None and (kind := obis.quantity(match[3])):
            number = _NUMBER.fullmatch(match[5][1:-1])
            numbers += [(kind + (number[2] or ""), number[1])] if number else []
    if obis.shapes_differ(numbers):
        return "numbers differ in their digits, and there is no CRC"
    if obis.tariffs_missing([code.partition(":")[2].partition("*")[0] for code in codes]):
        return "a tariff is missing, and there is no CRC"
    if obis.phases_disagree(frame.normalized):
        return "the phases do not add up, and there is no CRC"
    return ""


def _proof(covered: bytes, digits: bytes) -> Proof | None:
    """Return how a telegram is proven; None if its CRC is wrong."""
    if not digits:
        return Proof.NONE
    expected = int(digits, 16)
    if crc.arc(covered) == expected:
        return Proof.CRC
    # Holley DTSD545 in Hungary computes another CRC.
    return Proof.CRC if crc.x25(covered) == expected else None


def _decode(raw: bytes, at: int, proof: Proof) -> Frame:
    values: list[Value] = []
    found: dict[str, Decimal | None] = {}
    strings: dict[str, str] = {}
    for line in raw.decode("latin-1").split("\n"):
        match = _LINE.fullmatch(line.rstrip("\r"))
        if match is None:
            continue
        a, b, code, suffix, groups = match.groups()
        parts = groups[1:-1].split(")(")
        name = f"{a}-{b}:{code}"
        strings.setdefault(name, parts[0])
        if (a, b) != ("1", "0") or suffix not in (None, "255") or len(parts) != 1:
            continue
        number = _NUMBER.fullmatch(parts[0])
        if number is not None and number[2]:
            values.append(Value(name, Decimal(number[1]), number[2]))
        if obis.quantity(code) and code not in found and parts[0]:
            found[code] = _scaled(code, number)
    texts = _texts(strings)
    details: dict[str, str | int] = {"identification": _identification(raw)}
    version = next((strings[v] for v in _VERSIONED if v in strings), "")
    if version:
        details["version"] = version
    return Frame(
        PROTOCOL,
        "data",
        at,
        raw,
        proof,
        texts.get("meter_id", ""),
        tuple(values),
        obis.normalize(found),
        texts,
        details,
    )


def _scaled(code: str, number: re.Match[str] | None) -> Decimal | None:
    if number is None:
        return None
    default = {"energy": "kWh", "power": "kW", "voltage": "V", "current": "A"}
    unit = number[2] or default.get(obis.quantity(code), "Hz")
    return obis.scaled(code, Decimal(number[1]), unit)


def _texts(strings: dict[str, str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    raw_id = next((strings[code] for code in _METER_NUMBERS if strings.get(code)), "")
    if raw_id:
        texts["meter_id_raw"] = _printable(raw_id)
        texts["meter_id"] = unhex(texts["meter_id_raw"])
    clock = _clock(strings.get("0-0:1.0.0", ""))
    if clock:
        texts["clock"] = clock
    return texts


def unhex(text: str) -> str:
    """Return the printable ASCII that ``text`` spells in hex, else ``text`` itself."""
    try:
        spelled = bytes.fromhex(text)
    except ValueError:
        return text
    printable = len(spelled) > 1 and all(0x20 < byte < 0x7F for byte in spelled)
    return spelled.decode("ascii") if printable else text


def _clock(text: str) -> str:
    match = _CLOCK.fullmatch(text)
    if match is None:
        return ""
    try:
        at = datetime.strptime(match[1], "%y%m%d%H%M%S")  # noqa: DTZ007 (the zone follows)
    except ValueError:
        return ""
    if match[2]:
        at = at.replace(tzinfo=timezone(timedelta(hours=2 if match[2] == "S" else 1)))
    return at.isoformat()


def _identification(raw: bytes) -> str:
    line = raw.split(b"\n", 1)[0][1:].rstrip(b"\r").decode("latin-1")
    return _printable(line)


def _printable(text: str) -> str:
    """Return foreign text short and without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text[:96])
