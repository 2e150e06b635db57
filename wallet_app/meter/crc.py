"""The 16-bit CRCs of the meter protocols, all reflected, one table each."""


def _table(polynomial: int) -> tuple[int, ...]:
    result = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        result.append(value)
    return tuple(result)


_CCITT, _IBM = _table(0x8408), _table(0xA001)


def _run(table: tuple[int, ...], value: int, data: bytes | bytearray) -> int:
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value


def x25(data: bytes | bytearray) -> int:
    """Return CRC-16/X-25 (SML, HDLC, DL/T 698)."""
    return _run(_CCITT, 0xFFFF, data) ^ 0xFFFF


def kermit(data: bytes | bytearray) -> int:
    """Return CRC-16/KERMIT (a few SML meters use it instead of X-25)."""
    return _run(_CCITT, 0, data)


def arc(data: bytes | bytearray) -> int:
    """Return CRC-16/ARC (DSMR P1)."""
    return _run(_IBM, 0, data)


def modbus(data: bytes | bytearray) -> int:
    """Return CRC-16/MODBUS."""
    return _run(_IBM, 0xFFFF, data)
