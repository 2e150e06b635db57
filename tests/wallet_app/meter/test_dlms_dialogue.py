"""Reading a DLMS meter that answers: whole polls over a line in memory, with every obstacle."""

import threading
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from light_node.clock import SystemClock
from wallet_app.meter import dlms_get, dlt698
from wallet_app.meter.asking import Collected
from wallet_app.meter.channel import Channel, Timing
from wallet_app.meter.dialogue import Dialogue, Dlt698Dialogue, Options, dialogue
from wallet_app.meter.dlms_dialogue import DlmsDialogue
from wallet_app.meter.events import Event, Frame, Problem
from wallet_app.meter.ports import Link
from wallet_app.meter.simulator.device import Device, FaultyLine
from wallet_app.meter.simulator.dlms import DlmsMeter
from wallet_app.meter.simulator.home import HomeState
from wallet_app.meter.simulator.meters import Dlt698Meter

STATE = HomeState(datetime(2026, 6, 21, 12, tzinfo=UTC), 0, 500, 0, 0, 12_345_678, 9_999, 231.04)
QUICK = Timing(reply_s=0.05, retry_s=0.0, between_s=0.0, pace=0.0)


class MemoryLine:
    """A line to a device, without a port."""

    def __init__(self, device: Device) -> None:
        self.device, self.baudrate = device, 9600
        self.sent: list[bytes] = []
        self._held = bytearray()

    def read(self, size: int = 1, _wait_s: float = 0.0) -> bytes:
        part = bytes(self._held[:size])
        del self._held[:size]
        return part

    def write(self, data: bytes) -> int:
        self.sent.append(bytes(data))
        for _, reply in self.device.on_bytes(bytes(data), 0.0):
            self._held += reply
        return len(data)

    def flush(self) -> None:
        """Do nothing: what is written has arrived."""

    def reset_input_buffer(self) -> None:
        self._held.clear()

    def reset_output_buffer(self) -> None:
        """Do nothing: what is written has arrived."""

    def close(self) -> None:
        """Do nothing: nothing is open."""


class Desk:
    """A dialogue on a line in memory, and what went over it."""

    def __init__(self, talk: Dialogue, device: Device) -> None:
        self.talk, self.line = talk, MemoryLine(device)
        self.events: list[Event] = []
        self.channel = Channel(
            self.line,
            Link(9600, 8, "N", 1),
            talk.parser(),
            clock=SystemClock(),
            stop=threading.Event(),
            timing=QUICK,
            count=self.events.append,
        )

    def poll(self) -> Collected | None:
        return self.talk.poll(self.channel)

    def problems(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, Problem)]


def desk(talk: DlmsDialogue | None = None, **options: object) -> Desk:
    meter = DlmsMeter("12345678", lambda: STATE, **options)  # type: ignore[arg-type]
    return Desk(talk or DlmsDialogue(None), meter)


EXPECTED = {
    "import_kwh": Decimal("12345.678"),
    "export_kwh": Decimal("9.999"),
    "power_w": Decimal(500),
    "voltage_l1_v": Decimal("231.0"),
    "current_l1_a": Decimal("2.16"),
    "frequency_hz": Decimal(50),
}


@pytest.mark.parametrize(
    "options", [{}, {"segment": 20}, {"block": 2}, {"segment": 11, "block": 3}]
)
def test_poll(options: dict[str, int]):
    bench = desk(**options)
    for _ in range(2):
        collected = bench.poll()
        assert collected is not None
        assert collected.values == EXPECTED
        assert collected.meter_id == "12345678"
        assert collected.meter_clock == "2026-06-21T12:00:00+00:00"
    assert [e for e in bench.events if isinstance(e, Problem) and e.kind != "error_reply"] == []


def test_scale_and_what_is_refused_are_asked_once():
    bench = desk()
    assert bench.poll() is not None
    first = len(bench.line.sent)
    assert bench.poll() is not None
    second = len(bench.line.sent) - first
    # Only the seven values there are, the clock, and the frames around them.
    assert second == 7 + 1 + 3
    assert first > second


def test_nothing_but_reading_goes_out():
    bench = desk()
    bench.poll()
    apdus = {wire[11:13] for wire in bench.line.sent if len(wire) > 12}
    assert apdus == {b"\x60\x1d", b"\xc0\x01"}


def test_power_into_the_grid_is_negative():
    state = replace(STATE, house_w=100.0, roof_w=900.0)
    collected = Desk(DlmsDialogue(None), DlmsMeter("1", lambda: state)).poll()
    assert collected is not None
    assert collected.values["power_w"] == -800


def test_password():
    good = DlmsDialogue("1.17", b"00000001")
    assert desk(good, password=b"00000001").poll() is not None
    for password in (b"", b"wrong"):
        talk = DlmsDialogue(None, password)
        bench = desk(talk, password=b"00000001")
        assert bench.poll() is None
        (text,) = bench.problems()
        assert "refused the association" in text
        assert "password" in text
        assert talk.refusal


def test_bad_line_gives_the_values_or_none():
    meter = DlmsMeter("12345678", lambda: STATE, segment=40)
    for fault in ("flip", "drop", "noise", "half", "echo"):
        bench = Desk(DlmsDialogue(None), FaultyLine(meter, [fault], every=3))
        for _ in range(2):
            collected = bench.poll()
            if collected is not None:
                assert collected.values.items() <= EXPECTED.items()
        assert collected is not None or fault == "half"


def test_silence_and_a_meter_that_hangs_up():
    silent = FaultyLine(DlmsMeter("1", lambda: STATE), ["silent"], every=1)
    assert Desk(DlmsDialogue(None), silent).poll() is None
    meter = DlmsMeter("1", lambda: STATE)
    bench = Desk(DlmsDialogue(None), meter)
    meter.on_bytes(dlms_get.Station().frame(dlms_get.DISC), 0.0)
    assert bench.poll() is not None


def test_options_choose_asking():
    assert isinstance(dialogue("dlms", Options(ask=True, address="1.16")), DlmsDialogue)
    assert not isinstance(dialogue("dlms", Options()), DlmsDialogue)
    with pytest.raises(ValueError, match="server address"):
        dialogue("dlms", Options(ask=True, address="x"))


class Fragmenting(Dlt698Meter):
    """A DL/T 698.45 meter that sends every reply in fragments, each when the last was received."""

    def __init__(self, address: str) -> None:
        super().__init__(address, lambda: STATE, reply_delay_s=0.0)
        self._waiting: list[bytes] = []
        self._acknowledged = dlt698.Dlt698Parser()

    def on_bytes(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
        replies = super().on_bytes(data, now)
        confirmed = [e for e in self._acknowledged.feed(data) if isinstance(e, Frame)]
        if not replies:
            taken = any("fragment" in frame.details for frame in confirmed)
            return [(0.0, self._waiting.pop(0))] if taken and self._waiting else []
        (frame,) = (e for e in dlt698.Dlt698Parser().feed(replies[0][1]) if isinstance(e, Frame))
        apdu = frame.raw[14:-3]
        parts = [apdu[start : start + 30] for start in range(0, len(apdu), 30)]
        self._waiting = []
        for number, part in enumerate(parts):
            place = 0 if number == 0 else 1 if number == len(parts) - 1 else 3
            head = (number | place << 14).to_bytes(2, "little")
            self._waiting.append(dlt698.encode(self.address, 0xE3, head + part))
        return [(0.0, self._waiting.pop(0))]


def test_dlt698_reply_in_fragments():
    bench = Desk(Dlt698Dialogue("12"), Fragmenting("12"))
    collected = bench.poll()
    assert collected is not None
    assert collected.values["import_kwh"] == Decimal("12345.67")
    assert bench.problems() == ["40000200: no such object (4)"]
