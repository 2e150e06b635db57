"""The 16-bit CRCs of the meter protocols, all reflected.

Those with the CCITT polynomial go through ``binascii.crc_hqx``, which is the same polynomial from
the other end: the bits of every byte, and of the result, are turned round. The others take two
bytes at a time from a table of 65,536, made at the first use.
"""

import struct
from binascii import crc_hqx
from functools import cache

_TURNED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _turned(value: int) -> int:
    return _TURNED[value & 0xFF] << 8 | _TURNED[value >> 8]


def x25(data: bytes | bytearray) -> int:
    """Return CRC-16/X-25 (SML, HDLC, DL/T 698)."""
    return _turned(crc_hqx(data.translate(_TURNED), 0xFFFF)) ^ 0xFFFF


def kermit(data: bytes | bytearray) -> int:
    """Return CRC-16/KERMIT (a few SML meters use it instead of X-25)."""
    return _turned(crc_hqx(data.translate(_TURNED), 0))


def arc(data: bytes | bytearray) -> int:
    """Return CRC-16/ARC (DSMR P1)."""
    return _ibm(0, data)


def modbus(data: bytes | bytearray) -> int:
    """Return CRC-16/MODBUS."""
    return _ibm(0xFFFF, data)


def _ibm(value: int, data: bytes | bytearray) -> int:
    table = _table()
    for word in struct.unpack_from(f"<{len(data) // 2}H", data):
        value = table[value ^ word]
    if len(data) % 2:
        value = value >> 8 ^ _byte((value ^ data[-1]) & 0xFF)
    return value


def _byte(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


@cache
def _table() -> tuple[int, ...]:
    """Return what two bytes do to the CRC, by their XOR with it."""
    one = [_byte(value) for value in range(256)]
    two = [value >> 8 ^ one[value & 0xFF] for value in one]
    # The CRC is linear: what the first byte does, through both steps, and what the second does.
    return tuple([first ^ second for second in one for first in two])
