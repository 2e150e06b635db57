"""The CRCs against their catalogue check values and against the bit by bit definition."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_app.meter import crc

# name: function, polynomial (reflected), start, final XOR, value for "123456789"
KINDS: dict[str, tuple[Callable[[bytes | bytearray], int], int, int, int, int]] = {
    "x25": (crc.x25, 0x8408, 0xFFFF, 0xFFFF, 0x906E),
    "kermit": (crc.kermit, 0x8408, 0, 0, 0x2189),
    "arc": (crc.arc, 0xA001, 0, 0, 0xBB3D),
    "modbus": (crc.modbus, 0xA001, 0xFFFF, 0, 0x4B37),
}


def defined(data: bytes, polynomial: int, value: int, final: int) -> int:
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
    return value ^ final


@pytest.mark.parametrize("name", KINDS)
def test_check_value(name: str):
    function, *_, check = KINDS[name]
    assert function(b"123456789") == check


@pytest.mark.parametrize("name", KINDS)
@given(data=st.binary(max_size=70))
def test_as_defined(name: str, data: bytes):
    function, polynomial, start, final, _ = KINDS[name]
    assert function(data) == function(bytearray(data)) == defined(data, polynomial, start, final)
