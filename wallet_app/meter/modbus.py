"""Modbus RTU meters: read requests, replies found anywhere in the input (meter-protocols.md 10).

A reply has no start byte and says neither which registers it holds nor what they mean: it can only
be read together with the request and a register profile. Only the two read functions exist here.
"""

import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from wallet_app.meter import crc, sunspec
from wallet_app.meter.events import Event, Frame, Problem, Proof, StreamParser, Value

PROTOCOL = "modbus_rtu"
READ_HOLDING, READ_INPUT = 3, 4
MAX_REGISTERS = 125
_BITS, _FLOAT = struct.Struct(">I"), struct.Struct(">f")
_ANY_START = re.compile(rb"[\x01-\xf7][\x03\x04\x83\x84]")
_EXCEPTIONS = {
    1: "function not supported",
    2: "no such register",
    3: "not so many registers at once",
    4: "device failure",
    6: "busy",
    11: "no device behind the gateway",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: unit, function, first register, number of registers."""

    unit: int
    function: int
    start: int
    count: int

    def encode(self) -> bytes:
        """Return the bytes on the wire; ``ValueError`` if this is no read request."""
        if self.function not in (READ_HOLDING, READ_INPUT):
            raise ValueError(f"Modbus function {self.function} does not read registers")
        if not (1 <= self.unit <= 247 and 1 <= self.count <= MAX_REGISTERS):
            raise ValueError("unit must be 1 to 247, and 1 to 125 registers can be read at once")
        if not 0 <= self.start <= 0x10000 - self.count:
            raise ValueError("registers are numbered from 0 to 65535")
        body = struct.pack(">BBHH", self.unit, self.function, self.start, self.count)
        return body + crc.modbus(body).to_bytes(2, "little")

    @classmethod
    def decode(cls, data: bytes) -> "Request":
        """Return the request in ``data``; ``ValueError`` if it is none."""
        if len(data) != 8 or crc.modbus(data[:6]) != int.from_bytes(data[6:], "little"):
            raise ValueError("the request is no Modbus read request with a right CRC")
        request = cls(*struct.unpack(">BBHH", data[:6]))
        request.encode()
        return request


@dataclass(frozen=True, slots=True)
class Register:
    """One value of a profile: where it is, how it is written, its common name.

    ``form``: u16, i16, or u32, i32, f32 (float) with the high word first, and with ``le`` behind
    it with the low word first; ``shift``: power of ten to the unit of the common name.
    ``ratio``: which of the meter's transformer ratios the value still has to be multiplied with
    ("V", "I", "VI" or none).
    """

    address: int
    form: str
    key: str
    shift: int = 0
    ratio: str = ""

    @property
    def unit(self) -> str:
        """Return the last part of the common name: the unit, in small letters."""
        return self.key.rsplit("_", 1)[-1]

    @property
    def count(self) -> int:
        """Return how many registers it takes."""
        return 1 if self.form in ("u16", "i16") else 2

    def decode(self, words: tuple[int, ...]) -> Decimal | None:
        """Return the value of its registers; None for NaN, infinity and "not available"."""
        if len(words) == 1:
            number, bits = words[0], 16
        else:
            high, low = reversed(words) if self.form.endswith("le") else words
            number, bits = high << 16 | low, 32
        if self.form.startswith("f"):
            value = single(number)
            return value.scaleb(self.shift) if value and self.shift else value
        if self.form.startswith("i") and number >> (bits - 1):
            number -= 1 << bits
        return Decimal(number).scaleb(self.shift)


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A kind of meter: the function that reads it, and its registers in the order of addresses.

    Each is only equal to itself: hashing all registers at every poll would be most of its cost.
    """

    name: str
    function: int
    registers: tuple[Register, ...]  # empty for sunspec, which describes itself
    baud: int = 9600
    parity: str = "N"
    ratios: tuple[int, int] | None = None  # registers of the voltage and current ratio

    def requests(self, unit: int) -> list[Request]:
        """Return few requests that cover all registers, the energies first."""
        groups: list[list[Register]] = []
        if self.ratios:  # first, or the other values could not be read
            groups.append([Register(min(self.ratios), "u32", "ratio")])
        for register in sorted(self.registers, key=lambda r: r.address):
            last = groups[-1] if groups else None
            near = last and register.address + register.count - last[0].address <= 40
            if last and near and last[0].key != "ratio":
                last.append(register)
            else:
                groups.append([register])
        groups.sort(key=lambda group: not any(r.key.endswith(("_kwh", "ratio")) for r in group))
        return [
            Request(
                unit,
                self.function,
                group[0].address,
                group[-1].address + group[-1].count - group[0].address,
            )
            for group in groups
        ]


def _phases(
    first: int, step: int, form: str, key: str, shift: int = 0, ratio: str = ""
) -> list[Register]:
    return [
        Register(first + step * n, form, key.format(f"_l{n + 1}"), shift, ratio) for n in range(3)
    ]


_SDM = (
    *_phases(0x0000, 2, "f32", "voltage{}_v"),
    *_phases(0x0006, 2, "f32", "current{}_a"),
    *_phases(0x000C, 2, "f32", "power{}_w"),
    Register(0x0034, "f32", "power_w"),
    Register(0x0046, "f32", "frequency_hz"),
    Register(0x0048, "f32", "import_kwh"),
    Register(0x004A, "f32", "export_kwh"),
)
_SDM_ONE_PHASE = (
    Register(0x0000, "f32", "voltage_l1_v"),
    Register(0x0006, "f32", "current_l1_a"),
    Register(0x000C, "f32", "power_w"),
    Register(0x001E, "f32", "power_factor"),
    Register(0x0046, "f32", "frequency_hz"),
    Register(0x0048, "f32", "import_kwh"),
    Register(0x004A, "f32", "export_kwh"),
)
_DTSU666 = (
    Register(0x101E, "f32", "import_kwh"),
    Register(0x1028, "f32", "export_kwh"),
    *_phases(0x2006, 2, "f32", "voltage{}_v", -1),
    *_phases(0x200C, 2, "f32", "current{}_a", -3),
    Register(0x2012, "f32", "power_w", -1),
    *_phases(0x2014, 2, "f32", "power{}_w", -1),
    Register(0x202A, "f32", "power_factor", -3),
    Register(0x2044, "f32", "frequency_hz", -2),
)
_DDSU666 = (
    Register(0x2000, "f32", "voltage_l1_v"),
    Register(0x2002, "f32", "current_l1_a"),
    Register(0x2004, "f32", "power_w", 3),
    Register(0x200A, "f32", "power_factor"),
    Register(0x200E, "f32", "frequency_hz"),
    Register(0x4000, "f32", "import_kwh"),
)
_ADW300 = (
    *_phases(20, 1, "u16", "voltage{}_v", -1),
    *_phases(26, 1, "u16", "current{}_a", -2),
    Register(36, "i32", "power_w"),
    Register(62, "u32", "import_kwh", -2),
    Register(64, "u32", "export_kwh", -2),
)
# ADL200/400/3000, DTSD/DDSD1352: values of the secondary side, the ratios in 8Dh and 8Eh.
_ADL = (
    Register(0x000A, "u32", "import_kwh", -2, "VI"),
    Register(0x0014, "u32", "export_kwh", -2, "VI"),
    *_phases(0x0061, 1, "u16", "voltage{}_v", -1, "V"),
    *_phases(0x0064, 1, "u16", "current{}_a", -2, "I"),
    Register(0x0077, "u16", "frequency_hz", -2),
    *_phases(0x0164, 2, "i32", "power{}_w", 0, "VI"),
    Register(0x016A, "i32", "power_w", 0, "VI"),
    Register(0x017F, "i16", "power_factor", -3),
)
_ADL_RATIOS = (0x008D, 0x008E)
_PZEM016 = (
    Register(0, "u16", "voltage_l1_v", -1),
    Register(1, "u32le", "current_l1_a", -3),
    Register(3, "u32le", "power_w", -1),
    Register(5, "u32le", "import_kwh", -3),
    Register(7, "u16", "frequency_hz", -1),
    Register(8, "u16", "power_factor", -2),
)
PROFILES: Mapping[str, Profile] = {
    profile.name: profile
    for profile in (
        *(Profile(name, READ_INPUT, _SDM) for name in ("sdm", "sdm630", "sdm72", "sdm54")),
        *(Profile(n, READ_INPUT, _SDM_ONE_PHASE, 2400) for n in ("sdm120", "sdm220", "sdm230")),
        Profile("dtsu666", READ_HOLDING, _DTSU666),
        Profile("ddsu666", READ_HOLDING, _DDSU666),
        Profile("adw300", READ_HOLDING, _ADW300),
        *(
            Profile(name, READ_HOLDING, _ADL, ratios=_ADL_RATIOS)
            for name in ("adl200", "adl400", "adl3000", "dtsd1352", "ddsd1352")
        ),
        Profile("pzem016", READ_INPUT, _PZEM016),
        Profile("sunspec", READ_HOLDING, ()),
    )
}
"""Register profiles by name; sources in docs/meter-protocols.md section 10."""


def profile(name: str) -> Profile:
    """Return the profile ``name``; ``ValueError`` if there is none."""
    try:
        return PROFILES[re.sub("[-_ ]", "", name.lower())]
    except KeyError:
        known = ", ".join(sorted(PROFILES))
        raise ValueError(f"no register profile {name!r}; there are: {known}") from None


class ModbusParser(StreamParser):
    """Finds the reply to ``request`` in a stream of bytes and decodes it with ``kind``.

    The echo of the request, stray bytes and other frames are passed over. Without a request a
    request seen on the line counts; without a profile frames have registers but no values.
    ``tell_others`` names whole replies that are not the one looked for; it makes a live line wait
    longer behind noise, so only the decoding of files uses it.
    Events: ``Frame`` of kind ``data``, ``request`` or ``exception``; ``Problem`` ``checksum``,
    ``incomplete``, ``exception``, ``other_meter`` or ``other_identifier``.
    """

    protocol = PROTOCOL

    def __init__(
        self,
        request: Request | None = None,
        kind: Profile | None = None,
        *,
        tell_others: bool = False,
    ) -> None:
        super().__init__()
        self._kind, self._tell_others = kind, tell_others
        self._ratios: tuple[int, int] | None = None
        self._request: Request | None = None
        self._wire = b""
        self._places: Sequence[_Place] = ()
        self._starts = _ANY_START
        if request is not None:
            self.expect(request)

    def expect(self, request: Request) -> None:
        """Look for the reply to ``request`` from now on."""
        if request == self._request:
            return
        self._request = request
        self._wire, self._places, own = _prepared(self._kind, request)
        self._starts = _ANY_START if self._tell_others else own

    def _step(self, start: int, events: list[Event], final: bool) -> int | None:
        if len(self._buffer) - start < 2:
            return start + 1 if final else None
        asked = self._request
        following = self._starts.search(self._buffer, start)
        begin = following.start() if following else len(self._buffer) - 1
        if begin > start:
            return begin
        head = bytes(self._buffer[start : start + 8])
        if asked is None:
            return self._sniff(start, head, events, final)
        if head[0] != asked.unit or head[1] & 0x7F != asked.function:
            return self._other(start, head, events, final)
        # An exception has five bytes, an echo eight, a reply 5 + 2n: the shortest that fits wins.
        if head[1] & 0x80:
            return self._checked(start, 5, "exception", events, final)
        if len(head) < 3:
            return start + 1 if final else None
        wire = self._wire
        if wire.startswith(head) and len(head) < 8 and not final:
            return None
        if head == wire:
            return self._checked(start, 8, "request", events, final)
        if head[2] != 2 * asked.count:
            return self._other(start, head, events, final)
        return self._checked(start, 5 + head[2], "data", events, final)

    def _other(self, start: int, head: bytes, events: list[Event], final: bool) -> int | None:
        """Look whether this is a whole reply of another unit or to another question."""
        asked = self._request
        functions = (READ_HOLDING, READ_INPUT)
        if not self._tell_others or asked is None or head[1] not in functions:
            return start + 1
        if len(head) < 3:
            return start + 1 if final else None
        length = 5 + head[2]
        if not 1 <= head[0] <= 247 or not head[2] or head[2] % 2:
            return start + 1
        raw = bytes(self._buffer[start : start + length])
        if len(raw) < length:
            return start + 1 if final else None
        if crc.modbus(raw[:-2]) != int.from_bytes(raw[-2:], "little"):
            return start + 1
        kind = "other_meter" if head[0] != asked.unit else "other_identifier"
        events.append(Problem(kind, self._offset + start, raw, f"from unit {head[0]}"))
        return start + length

    def _sniff(self, start: int, head: bytes, events: list[Event], final: bool) -> int | None:
        """Look for a read request of another master, to know what the reply is about."""
        if head[1] not in (READ_HOLDING, READ_INPUT):
            return start + 1
        if len(head) < 8:
            return start + 1 if final else None
        try:
            self.expect(Request.decode(head))
        except ValueError:
            return start + 1
        return self._checked(start, 8, "request", events, final)

    def _checked(
        self, start: int, length: int, kind: str, events: list[Event], final: bool
    ) -> int | None:
        raw = bytes(self._buffer[start : start + length])
        at = self._offset + start
        if len(raw) < length:
            if not final:
                return None
            if kind == "data":
                events.append(Problem("incomplete", at, raw))
            return start + 1
        if crc.modbus(raw[:-2]) != int.from_bytes(raw[-2:], "little"):
            if kind == "data":
                events.append(Problem("checksum", at, raw))
            return start + 1
        if kind == "exception":
            text = _EXCEPTIONS.get(raw[2], "unknown exception")
            details: dict[str, str | int] = {"unit": raw[0], "code": raw[2], "error": text}
            events.append(Frame(PROTOCOL, kind, at, raw, Proof.CRC, details=details))
            events.append(Problem("exception", at, raw, f"{raw[2]}: {text}"))
        elif kind == "request":
            events.append(Frame(PROTOCOL, kind, at, raw, Proof.CRC, details={"unit": raw[0]}))
        else:
            self._decode(raw, at, events)
        return start + length

    def _decode(self, raw: bytes, at: int, events: list[Event]) -> None:
        asked, kind = self._request, self._kind
        assert asked is not None  # _checked is reached for data only with a request
        words = struct.unpack(f">{asked.count}H", raw[3:-2])
        details: dict[str, str | int] = {
            "unit": raw[0],
            "start": asked.start,
            "registers": raw[3:-2].hex(" ", 2).upper(),
        }
        values: list[Value] = []
        normalized: dict[str, Decimal] = {}
        if kind is not None and kind.function == asked.function:
            self._learn_ratios(asked, words, details)
            unscaled = self._values(words, values, normalized)
            if kind.name == "sunspec":
                normalized = sunspec.meter_values(words, single)
            if unscaled and self._tell_others:
                text = "the meter's transformer ratios are not known: read their registers first"
                events.append(Problem("value", at, raw, text))
        shown = tuple(values)
        events.append(
            Frame(
                PROTOCOL,
                "data",
                at,
                raw,
                Proof.CRC,
                values=shown,
                normalized=normalized,
                details=details,
            )
        )

    def _values(
        self,
        words: tuple[int, ...],
        values: list[Value],
        normalized: dict[str, Decimal],
    ) -> bool:
        """Decode the profile's registers in ``words``; say whether a ratio was missing."""
        missing = False
        for register, code, unit, first, last in self._places:
            value = register.decode(words[first:last])
            if value is None or (value < 0 and unit == "kwh"):
                continue  # a register never counts below 0
            if register.ratio:
                if self._ratios is None:
                    missing = True
                    continue
                for name, ratio in zip("VI", self._ratios, strict=True):
                    value = value * ratio if name in register.ratio else value
            values.append(Value(code, value, unit))
            normalized[register.key] = value
        return missing

    def _learn_ratios(
        self, asked: Request, words: tuple[int, ...], details: dict[str, str | int]
    ) -> None:
        places = self._kind.ratios if self._kind is not None else None
        if places is None or not all(asked.start <= p < asked.start + asked.count for p in places):
            return
        voltage, current = (words[place - asked.start] for place in places)
        self._ratios = (voltage, current) if voltage and current else None
        details["ratios"] = f"{voltage} {current}"


# A register of the profile, its code and unit, and where it is in a reply.
_Place = tuple[Register, str, str, int, int]


@lru_cache(256)
def _prepared(
    kind: Profile | None, asked: Request
) -> tuple[bytes, Sequence[_Place], re.Pattern[bytes]]:
    """Return what a request is on the wire, what its reply holds, and how that may begin.

    Kept, because polls repeat themselves.
    """
    functions = bytes((asked.function, asked.function | 0x80))
    start = re.escape(bytes((asked.unit,))) + b"[" + re.escape(functions) + b"]"
    return asked.encode(), _places(kind, asked), re.compile(start)


def _places(kind: Profile | None, asked: Request) -> Sequence[_Place]:
    """Return the registers of ``kind`` that the reply to ``asked`` holds whole."""
    if kind is None or kind.function != asked.function:
        return ()
    inside = (r for r in kind.registers if 0 <= r.address - asked.start <= asked.count - r.count)
    return [
        (
            register,
            f"{asked.function:02d}:{register.address:04X}",
            register.unit,
            register.address - asked.start,
            register.address - asked.start + register.count,
        )
        for register in inside
    ]


@lru_cache(1024)
def single(bits: int) -> Decimal | None:
    """Return the shortest decimal that is this float32; None for NaN and infinities.

    Kept, because registers move more slowly than they are read.
    """
    packed = _BITS.pack(bits)
    number: float = _FLOAT.unpack(packed)[0]
    if not math.isfinite(number):
        return None
    for digits in range(6, 10):
        text = f"{number:.{digits}g}"
        if _FLOAT.pack(float(text)) == packed:
            return Decimal(text)
    return Decimal(text)
