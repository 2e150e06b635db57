"""Builds good telegrams of the protocols that push, for simulators and tests (docs section 17).

DL/T 645 and 698 frames are built by their codecs' own ``encode``.
"""

import struct
from collections.abc import Sequence

from wallet_app.meter import crc

ABSENT = b"\x01"
"""SML's mark for an optional element that is not there."""
LLC = b"\xe6\xe7\x00"
"""Logical link header in front of an APDU from the meter."""


def lines(*texts: str) -> bytes:
    """Return the texts as lines that end in CR LF."""
    return "".join(f"{text}\r\n" for text in texts).encode("latin-1")


def p1(*data: str, crc_digits: str | None = None) -> bytes:
    """Return a P1 telegram; ``crc_digits`` replaces its CRC ("" leaves it out)."""
    covered = lines("/XMX5LGBBFFB231", "", *data) + b"!"
    digits = f"{crc.arc(covered):04X}" if crc_digits is None else crc_digits
    return covered + digits.encode("ascii") + b"\r\n"


def d0_block(*data: str, ident: str = "/XMP5\\2METER") -> bytes:
    """Return an identification and a readout with its BCC (IEC 62056-21 modes A to C)."""
    text = lines(*data, "!") + b"\x03"
    check = 0
    for byte in text:
        check ^= byte
    return lines(ident) + b"\x02" + text + bytes((check,))


def d0_push(*data: str) -> bytes:
    """Return a mode D telegram, which has no check sum."""
    return lines("/ESY5Q3DA1004 V3.04", "", *data, "!")


def tl(kind: int, length: int) -> bytes:
    """Return an SML type-length head; ``length`` counts elements, or bytes without the head."""
    size = length if kind == 7 else length + 1
    if size < 16:
        return bytes((kind << 4 | size,))
    return bytes((0x80 | kind << 4 | (size + 1) >> 4, (size + 1) & 0x0F))


def sml_octets(data: bytes) -> bytes:
    """Return an SML octet string."""
    return tl(0, len(data)) + data


def sml_integer(value: int, size: int, *, signed: bool = True) -> bytes:
    """Return an SML integer of ``size`` bytes."""
    return tl(5 if signed else 6, size) + value.to_bytes(size, "big", signed=signed)


def sml_list(*items: bytes) -> bytes:
    """Return an SML list of items already encoded."""
    return tl(7, len(items)) + b"".join(items)


def sml_entry(
    code: str, value: bytes, unit: int | None = None, scaler: int = 0, status: bytes = ABSENT
) -> bytes:
    """Return one entry of an SML value list; ``code`` like ``1-0:1.8.0``."""
    numbers = bytes(int(part) for part in code.replace("-", ".").replace(":", ".").split("."))
    return sml_list(
        sml_octets(numbers + b"\xff"),
        status,
        ABSENT,
        ABSENT if unit is None else sml_integer(unit, 1, signed=False),
        ABSENT if unit is None else sml_integer(scaler, 1),
        value,
        ABSENT,
    )


def sml_message(tag: int, body: bytes) -> bytes:
    """Return an SML message with body ``tag``."""
    choice = sml_list(sml_integer(tag, 2, signed=False), body)
    head = sml_octets(b"\x01\x02"), sml_integer(0, 1, signed=False), sml_integer(0, 1, signed=False)
    covered = tl(7, 6) + b"".join(head) + choice
    return covered + tl(6, 2) + crc.x25(covered).to_bytes(2, "little") + b"\x00"


def sml(*entries: bytes, server: bytes = b"\x0a\x01ISK\x00\x04\x32\x5e\xc5") -> bytes:
    """Return an SML file with open, GetList and close messages."""
    absent = [ABSENT] * 4
    opening = sml_list(ABSENT, ABSENT, sml_octets(b"file"), sml_octets(server), ABSENT, ABSENT)
    values = sml_list(ABSENT, sml_octets(server), ABSENT, ABSENT, sml_list(*entries), *absent[:2])
    payload = sml_message(0x0101, opening) + sml_message(0x0701, values)
    payload += sml_message(0x0201, sml_list(ABSENT))
    pad = -len(payload) % 4
    payload = (payload + bytes(pad)).replace(b"\x1b" * 4, b"\x1b" * 8)
    covered = b"\x1b" * 4 + b"\x01" * 4 + payload + b"\x1b" * 4 + bytes((0x1A, pad))
    return covered + crc.x25(covered).to_bytes(2, "little")


def hdlc(information: bytes, *, segmented: bool = False, control: int = 0x13) -> bytes:
    """Return an HDLC frame with both flags."""
    address = b"\x41\x08\x83"
    size = 2 + len(address) + 1 + 2 + len(information) + 2
    head = (0xA000 | (0x0800 if segmented else 0) | size).to_bytes(2, "big")
    head += address + bytes((control,))
    head += crc.x25(head).to_bytes(2, "little") + information
    return b"\x7e" + head + crc.x25(head).to_bytes(2, "little") + b"\x7e"


def mbus(payload: bytes, number: int = 0, *, last: bool = True) -> bytes:
    """Return an M-Bus long frame with one segment of an APDU."""
    body = bytes((0x53, 0xFF, (0x10 if last else 0) | number, 0x01, 0x67)) + payload
    head = bytes((0x68, len(body), len(body), 0x68))
    return head + body + bytes((sum(body) & 0xFF, 0x16))


def mbus_list(apdu: bytes, size: int = 245) -> bytes:
    """Return an APDU as M-Bus frames of up to ``size`` bytes of it each."""
    parts = [apdu[start : start + size] for start in range(0, len(apdu), size)]
    return b"".join(mbus(part, n, last=n == len(parts) - 1) for n, part in enumerate(parts))


def obis(code: str) -> bytes:
    """Return a code like ``1-0:1.8.0`` as an octet string that ends in FF."""
    numbers = [int(part) for part in code.replace("-", ".").replace(":", ".").split(".")]
    return b"\x09\x06" + bytes(numbers) + b"\xff"


def dlms_entry(code: str, value: int, scaler: int, unit: int) -> bytes:
    """Return {code, number, {scaler, unit}}."""
    number = b"\x06" + value.to_bytes(4, "big")
    return (
        b"\x02\x03" + obis(code) + number + struct.pack(">BBBbBB", 2, 2, 0x0F, scaler, 0x16, unit)
    )


def dlms_text(code: str, text: str) -> bytes:
    """Return {code, visible string}."""
    return b"\x02\x02" + obis(code) + b"\x0a" + bytes((len(text),)) + text.encode("ascii")


def dlms_apdu(*entries: bytes, when: bytes = b"\x00") -> bytes:
    """Return a data notification with an array of entries."""
    return b"\x0f\x40\x00\x00\x00" + when + bytes((1, len(entries))) + b"".join(entries)


def modbus_reply(unit: int, function: int, words: Sequence[int]) -> bytes:
    """Return the reply to a Modbus read request."""
    body = bytes((unit, function, 2 * len(words))) + struct.pack(f">{len(words)}H", *words)
    return body + crc.modbus(body).to_bytes(2, "little")
