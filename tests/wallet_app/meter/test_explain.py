"""The explanation of raw bytes: every byte in one field, right names, right and wrong sums."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_app.meter import crc, dlt645, dlt698, modbus
from wallet_app.meter.decode import DECODERS
from wallet_app.meter.explain import Context, Field, explain, lines

VOLTS = bytes.fromhex("684592662300106891063334343566556216")
P1 = b"/XMX5ABC\r\n\r\n0-0:96.1.1(4530)\r\n1-0:1.8.1(000756.849*kWh)\r\n1-0:1.7.0(00.111*kW)\r\n!"
D0 = b"/XMP5\\2SAMPLE\r\n\x021.8.0(001234.567*kWh)\r\n1.8.0*12(000001.0*kWh)\r\n!\r\n\x03"


def check_tiles(data: bytes, fields: list[Field]) -> None:
    at = 0
    for field in fields:
        assert field.at == at
        assert field.length > 0
        assert field.name
        at += field.length
    assert at == len(data)
    lines(data, fields)


def named(fields: list[Field], name: str) -> list[str]:
    return [field.text for field in fields if field.name == name]


def sums(fields: list[Field]) -> list[bool]:
    return [f.good for f in fields if f.name.startswith("Check sum of") or f.name == "Check sum"]  # type: ignore[misc]


def ruined(pick: random.Random, telegram: bytes) -> bytes:
    """Return a telegram with a few bits, bytes or pieces changed."""
    data = bytearray(telegram)
    for _ in range(pick.randrange(1, 6)):
        at = pick.randrange(len(data) + 1)
        kind = pick.randrange(4)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << pick.randrange(8)
        elif kind == 1:
            del data[at : at + pick.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = pick.randbytes(pick.randrange(1, 9))
        else:
            data[at:at] = telegram[: pick.randrange(len(telegram))]
    return bytes(data[:4000])


@pytest.mark.parametrize("protocol", sorted(DECODERS))
@given(data=st.binary(max_size=300))
def test_any_bytes_are_explained_each_once(protocol: str, data: bytes):
    check_tiles(data, explain(protocol, data))


@pytest.mark.parametrize("protocol", sorted(DECODERS))
def test_samples_and_their_ruins_are_explained_each_byte_once(
    samples: Callable[[str], list[dict[str, Any]]], protocol: str
):
    pick = random.Random(protocol)
    for sample in samples(protocol):
        data = bytes.fromhex(sample.get("hex", "")) or sample["text"].encode("latin-1")
        request = bytes.fromhex(sample.get("request_hex") or "")
        context = Context(request, sample.get("profile") or "")
        check_tiles(data, explain(protocol, data, context))
        for _ in range(60):
            ruin = ruined(pick, data)
            check_tiles(ruin, explain(protocol, ruin, context))


def test_dlt645_names_address_identifier_and_value():
    fields = explain("dlt645", b"\xfe\xfe" + VOLTS)
    assert fields[0].name == "Wake-up bytes"
    assert named(fields, "Address") == ["100023669245"]
    assert named(fields, "Identifier") == ["02010100 Voltage, L1"]
    assert named(fields, "Voltage, L1") == ["223.3 V"]
    assert sums(fields) == [True]


def test_a_wrong_sum_is_said_with_the_right_one():
    damaged = VOLTS[:-2] + b"\x61\x16"
    fields = explain("dlt645", damaged)
    assert sums(fields) == [False]
    assert named(fields, "Check sum") == ["wrong: should be 62"]


def test_dlt645_block_refusal_and_request():
    block = dlt645.encode("1", 0x91, bytes.fromhex("00ff0102 2301 5502 ffff".replace(" ", "")))
    fields = explain("dlt645", block)
    assert named(fields, "Voltage, L1") == ["12.3 V"]
    assert named(fields, "Voltage, L3") == ["no value"]
    assert (
        "no such data" in named(explain("dlt645", dlt645.encode("1", 0xD1, b"\x02")), "Reason")[0]
    )
    asked = explain("dlt645", dlt645.read_request("1", dlt645.IMPORT_TOTAL))
    assert named(asked, "Control") == ["request: read"]
    assert named(asked, "Identifier") == ["00010000 Energy from the grid"]


def test_dlt698_request_and_scaled_reply():
    request = dlt698.get_request("1", [dlt698.IMPORT, dlt698.POWER])
    assert named(explain("dlt698", request), "Object") == [
        "00100200 Energy from the grid",
        "20040200 Power",
    ]
    apdu = bytes.fromhex("8501000010020001010206000 1e2400600002710 0000".replace(" ", ""))
    fields = explain("dlt698", dlt698.encode("1", 0xC3, apdu))
    assert named(fields, "uint32") == ["1234.56 kWh", "100 kWh"]
    assert sums(fields) == [True, True]


def test_modbus_reply_by_request_and_profile():
    request = modbus.Request(1, 4, 0x34, 2).encode()
    body = bytes.fromhex("01040444b91000")
    reply = body + crc.modbus(body).to_bytes(2, "little")
    fields = explain("modbus_rtu", request + b"\x00" + reply, Context(request, "sdm630"))
    assert named(fields, "First register") == ["52 (0034)"]
    assert named(fields, "Power") == ["1480.5 W  (Register 52 (0034))"]
    assert sums(fields) == [True, True]
    assert "Idle line" in [field.name for field in fields]


def test_p1_lines_and_sum():
    good = P1 + f"{crc.arc(P1):04X}\r\n".encode()
    fields = explain("dsmr_p1", good)
    assert named(fields, "Energy from the grid, tariff 1") == ["1-0:1.8.1(000756.849*kWh)"]
    assert sums(fields) == [True]
    assert sums(explain("dsmr_p1", good.replace(b"756", b"757"))) == [False]


def test_d0_identification_history_and_sum():
    right = 0
    for byte in D0[D0.index(b"\x02") + 1 :]:
        right ^= byte
    fields = explain("iec62056_21", b"/?!\r\n" + D0 + bytes((right,)))
    assert named(fields, "Manufacturer") == ["XMP"]
    assert named(fields, "Speed") == ["5: 9600 baud offered"]
    assert named(fields, "Energy from the grid (history)") == ["1.8.0*12(000001.0*kWh)"]
    assert named(fields, "Request")
    assert sums(fields) == [True]


def test_sml_entry_has_code_unit_and_scaled_number(
    samples: Callable[[str], list[dict[str, Any]]],
):
    data = bytes.fromhex(samples("sml")[0]["hex"])
    fields = explain("sml", data)
    assert "1-0:1.8.0 Energy from the grid" in named(fields, "Code")
    assert "198927.3 Wh" in named(fields, "Number")
    assert named(fields, "Check sum of the file") == ["right"]


def test_unknown_protocol_is_refused_in_words():
    with pytest.raises(ValueError, match="there are: dlms"):
        explain("morse", b"")
