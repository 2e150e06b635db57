"""Every parser under noise, cuts and flipped bits: the right value or none, never an exception."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_app.meter import dlt645, dlt698, modbus
from wallet_app.meter.dlms import DlmsParser
from wallet_app.meter.events import Event, Frame, StreamParser
from wallet_app.meter.iec62056 import Iec62056Parser
from wallet_app.meter.p1 import P1Parser
from wallet_app.meter.simulator.telegrams import (
    LLC,
    d0_block,
    dlms_apdu,
    dlms_entry,
    dlms_text,
    hdlc,
    modbus_reply,
    p1,
    sml,
    sml_entry,
    sml_integer,
)
from wallet_app.meter.sml import SmlParser

METER = "123456789012"
REQUEST = modbus.Request(1, 4, 0x48, 4)


def good() -> dict[str, tuple[StreamParser, bytes]]:
    """Return a new parser and a telegram with an import register for every protocol."""
    energy = dlms_entry("1-0:1.8.0", 123456, 1, 30)
    return {
        "dlms": (DlmsParser(), hdlc(LLC + dlms_apdu(dlms_text("0-0:96.1.0", METER), energy))),
        "dlt645": (
            dlt645.Dlt645Parser(),
            dlt645.encode(METER, 0x91, bytes.fromhex("0000010056341200")),
        ),
        "dlt698": (
            dlt698.Dlt698Parser(),
            dlt698.encode(METER, 0xC3, bytes.fromhex("850100001002010106000000640000")),
        ),
        "dsmr_p1": (P1Parser(), p1("1-3:0.2.8(50)", "1-0:1.8.0(001234.567*kWh)")),
        "iec62056_21": (Iec62056Parser(), d0_block("0.0.0(123)", "1.8.0(001234.567*kWh)")),
        "modbus_rtu": (
            modbus.ModbusParser(REQUEST, modbus.profile("sdm630")),
            modbus_reply(1, 4, [0x449A, 0x5225, 0, 0]),
        ),
        "sml": (SmlParser(), sml(sml_entry("1-0:1.8.0", sml_integer(123456, 5), 30, -1))),
    }


PROTOCOLS = sorted(good())
MOST_PENDING = {"sml": 8200, "dsmr_p1": 16_400, "iec62056_21": 16_400, "dlms": 2100}

cuts = st.lists(st.integers(0, 2000), max_size=12)


def run(parser: StreamParser, data: bytes, at: list[int] | None = None) -> list[Event]:
    events: list[Event] = []
    bounds = [0, *sorted(cut for cut in at or [] if cut < len(data)), len(data)]
    for start, end in pairwise(bounds):
        events += parser.feed(data[start:end])
        assert parser.pending <= MOST_PENDING.get(parser.protocol, 2050)
    events += parser.finish()
    assert parser.pending == 0
    return events


def readings(events: list[Event]) -> list[dict[str, str]]:
    return [e.to_json() for e in events if isinstance(e, Frame) and e.normalized]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_good_telegram_gives_its_value_and_nothing_else(protocol: str):
    parser, telegram = good()[protocol]
    events = run(parser, telegram)
    assert all(isinstance(event, Frame) for event in events)
    (reading,) = readings(events)
    assert reading["import_kwh"] in ("1234.56", "1234.567", "12.3456", "1")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(pieces=st.lists(st.integers(0, 4) | st.binary(max_size=20), max_size=6), where=cuts)
def test_same_events_for_any_split(protocol: str, pieces: list[int | bytes], where: list[int]):
    telegram = good()[protocol][1]
    parts = [telegram, telegram[: len(telegram) // 2], telegram[7:], telegram[:1], telegram[-4:]]
    data = b"".join(parts[piece] if isinstance(piece, int) else piece for piece in pieces)
    whole = run(good()[protocol][0], data)
    assert run(good()[protocol][0], data, where) == whole
    assert run(good()[protocol][0], data, list(range(len(data)))) == whole


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(data=st.binary(max_size=400))
def test_anything_is_taken(protocol: str, data: bytes):
    parser, telegram = good()[protocol]
    run(parser, data)
    run(good()[protocol][0], telegram[:5] + data)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(before=st.binary(max_size=40), behind=st.binary(max_size=40))
def test_good_telegram_between_noise_is_found(protocol: str, before: bytes, behind: bytes):
    parser, telegram = good()[protocol]
    expected = readings(run(good()[protocol][0], telegram))
    assert expected[0] in readings(run(parser, before + telegram + behind))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_flipped_bit_gives_the_right_value_or_none(protocol: str):
    telegram = good()[protocol][1]
    (expected,) = readings(run(good()[protocol][0], telegram))
    for position in range(8 * len(telegram)):
        damaged = bytearray(telegram)
        damaged[position // 8] ^= 1 << position % 8
        for reading in readings(run(good()[protocol][0], bytes(damaged))):
            assert reading == expected


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_lost_and_added_bytes_give_the_right_value_or_none(protocol: str):
    telegram = good()[protocol][1]
    (expected,) = readings(run(good()[protocol][0], telegram))
    pick = random.Random(protocol)
    for _ in range(300):
        at, size = pick.randrange(len(telegram)), pick.randrange(1, 6)
        for damaged in (
            telegram[:at],
            telegram[:at] + telegram[at + size :],
            telegram[:at] + pick.randbytes(size) + telegram[at:],
        ):
            for reading in readings(run(good()[protocol][0], damaged)):
                assert reading["import_kwh"] == expected["import_kwh"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_good_telegram_behind_a_cut_one_is_found(protocol: str):
    telegram = good()[protocol][1]
    expected = readings(run(good()[protocol][0], telegram))
    for end in range(1, len(telegram)):
        found = readings(run(good()[protocol][0], telegram[:end] + telegram))
        # Two HDLC frames may share a flag, so that the first is whole after all.
        assert found in (expected, expected * 2)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reset_forgets_what_was_begun(protocol: str):
    parser, telegram = good()[protocol]
    parser.feed(telegram[: len(telegram) // 2])
    parser.reset()
    assert parser.pending == 0
    assert readings(run(parser, telegram)) == readings(run(good()[protocol][0], telegram))
