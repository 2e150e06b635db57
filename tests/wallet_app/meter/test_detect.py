"""Finding protocol, speed and number of what hangs on a port."""

import sys

import pytest

from light_node.clock import SystemClock
from tests.wallet_app.meter.uart import VirtualStop, VirtualTime, Wire
from wallet_app.meter import dlms_get
from wallet_app.meter.desk import Connection
from wallet_app.meter.detect import Detection, Detector, Found
from wallet_app.meter.dialogue import Options
from wallet_app.meter.ports import Line, Link, PortError, open_port

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

from datetime import UTC, datetime

from wallet_app.meter.simulator import meters
from wallet_app.meter.simulator.device import Asked, Device, FaultyLine, Pushing, Replies
from wallet_app.meter.simulator.home import HomeState
from wallet_app.meter.simulator.terminal import MeterTerminal

STATE = HomeState(datetime(2026, 6, 21, tzinfo=UTC), 2000, 500, 0, 0, 12_345_678, 9_999, 231.04)


class AtSpeed:
    """A port factory that lets a meter be heard at its own speed and parity only."""

    def __init__(self, terminal: MeterTerminal, baud: int, parity: str) -> None:
        self.terminal, self.right = terminal, (baud, parity)
        self.asked: list[bytes] = []

    def __call__(self, _device: str, link: Link) -> Line:
        line = open_port(self.terminal.port, link)
        if (link.baud, link.parity) == self.right:
            return line
        line.close()
        return Deaf(self)


class Deaf:
    """A line at the wrong speed: silence."""

    baudrate = 0

    def __init__(self, owner: AtSpeed) -> None:
        self._owner = owner

    def read(self, _size: int = 1, _wait_s: float = 0.0) -> bytes:
        return b""

    def write(self, data: bytes) -> int:
        self._owner.asked.append(data)
        return len(data)

    def flush(self) -> None: ...

    def reset_input_buffer(self) -> None: ...

    def close(self) -> None: ...


class Mute(Asked):
    """Nobody there."""

    def on_bytes(self, _data: bytes, _now: float) -> Replies:
        return []


def in_vain(device: Device) -> tuple[Detection, float]:
    """Search in virtual time; return the result and how long it took."""
    time = VirtualTime()
    wire = Wire(device, Link(9600, 8, "N"), time)
    detector = Detector("COM5", time, factory=wire, stop=VirtualStop(time))
    return detector.run(), time.seconds


def detect(device: Device, baud: int, parity: str, scale: float = 0.2) -> Detection:
    if device.period_s is not None:
        device.period_s = 0.03  # type: ignore[misc]
    with MeterTerminal(device) as terminal:
        factory = AtSpeed(terminal, baud, parity)
        return Detector(terminal.port, SystemClock(), factory=factory, scale=scale).run()


@pytest.mark.parametrize(
    ("protocol", "address", "push", "profile", "baud", "parity"),
    [
        ("dsmr_p1", "123", False, "", 115200, "N"),
        ("sml", "123", False, "", 9600, "N"),
        ("iec62056_21", "123", True, "", 9600, "N"),
        ("dlms", "123", False, "", 2400, "E"),
        ("dlt645", "123456789012", False, "", 2400, "E"),
        ("dlt698", "123456789012", False, "", 9600, "E"),
        ("modbus_rtu", "1", False, "sdm630", 9600, "N"),
        ("dlms", "123", None, "", 9600, "N"),
    ],
)
def test_finds(
    protocol: str, address: str, push: bool | None, profile: str, baud: int, parity: str
):
    device = meters.make(
        protocol, address, lambda: STATE, profile=profile, push=bool(push), ask=push is None
    )
    if hasattr(device, "_delay"):
        device._delay = 0.0
    found = detect(device, baud, parity).found
    assert found is not None
    assert (found.protocol, found.profile) == (protocol, profile)
    assert (found.link.baud, found.link.parity) == (baud, parity)
    assert found.listen is (device.period_s is not None)
    assert found.proven is (push is not True)
    assert found.meter_id


def test_silence_says_what_to_check():
    detection, _ = in_vain(Mute())
    assert detection.found is None
    assert "nothing was heard" in detection.advice
    assert {attempt.result for attempt in detection.attempts} == {"silence"}
    assert [attempt.what for attempt in detection.attempts][:4] == ["listen"] * 3 + ["ask DL/T 645"]


def test_nobody_is_disturbed_on_a_line_where_others_talk():
    class Chatter(Pushing):
        def push(self, _now: float) -> Replies:
            return [(0.0, b"hello")]

    chatter = Chatter()
    chatter.period_s = 0.02
    with MeterTerminal(chatter) as terminal:
        factory = AtSpeed(terminal, 9600, "N")
        detection = Detector(terminal.port, SystemClock(), factory=factory, scale=0.03).run()
    assert detection.found is None
    assert factory.asked == []
    assert "no frame" in detection.advice
    assert not [a for a in detection.attempts if a.what.startswith("ask")]


def test_damaged_frames_are_told():
    device = FaultyLine(meters.make("sml", "1", lambda: STATE), ["flip"], every=1)
    device._device.period_s = 0.03  # type: ignore[misc]
    with MeterTerminal(device) as terminal:
        factory = AtSpeed(terminal, 9600, "N")
        detection = Detector(terminal.port, SystemClock(), factory=factory, scale=0.05).run()
    assert detection.found is None
    assert "damaged frames" in detection.advice


def test_missing_port_is_told():
    with pytest.raises(PortError, match="there is no port"):
        Detector("/dev/no-such-port", SystemClock()).run()


PUSHED = [
    ("dsmr_p1", Link(115200, 8, "N"), 1.0),
    ("dsmr_p1", Link(115200, 8, "N"), 10.0),
    ("dsmr_p1", Link(9600, 7, "E"), 10.0),
    ("sml", Link(9600, 8, "N"), 1.0),
    ("sml", Link(9600, 8, "N"), 4.0),
    ("iec62056_21", Link(9600, 7, "E"), 2.0),
    ("iec62056_21", Link(2400, 7, "E"), 4.0),
    ("dlms", Link(2400, 8, "E"), 10.0),
    ("dlms", Link(2400, 8, "N"), 10.0),
    ("dlms", Link(115200, 8, "N"), 10.0),
]


@pytest.mark.parametrize("phase", [0.05, 0.35, 0.65, 0.95])
@pytest.mark.parametrize(("protocol", "link", "period_s"), PUSHED)
def test_a_meter_that_pushes_is_found_within_thirty_seconds(
    protocol: str, link: Link, period_s: float, phase: float
):
    device = meters.make(protocol, "123456", lambda: STATE, push=True)
    device.period_s = period_s  # type: ignore[misc]
    found, seconds, wire = search(device, link, phase * period_s)
    assert found is not None
    assert found.protocol == protocol
    assert found.link.baud == link.baud
    assert seconds < 30
    assert wire.asked == []  # whoever talks by itself is never asked


ASKED = [
    *(("dlt645", "123456789012", "", Link(baud, 8, "E")) for baud in (2400, 9600, 1200, 4800)),
    *(("dlt698", "123456789012", "", Link(baud, 8, "E")) for baud in (9600, 115200, 2400)),
    ("modbus_rtu", "1", "sdm630", Link(9600, 8, "N")),
    ("modbus_rtu", "1", "sdm120", Link(2400, 8, "N")),
    ("modbus_rtu", "1", "dtsu666", Link(9600, 8, "E")),
    ("modbus_rtu", "1", "pzem016", Link(9600, 8, "N")),
    ("modbus_rtu", "1", "adw300", Link(19200, 8, "N")),
    ("modbus_rtu", "1", "sunspec", Link(9600, 8, "N")),
    ("iec62056_21", "123", "", Link(300, 7, "E")),
    ("iec62056_21", "123", "", Link(9600, 7, "E")),
    ("dlms", "123", "", Link(9600, 8, "N")),
    ("dlms", "123", "", Link(2400, 8, "N")),
    ("modbus_rtu", "2", "sdm630", Link(9600, 8, "N")),
    ("modbus_rtu", "11", "dtsu666", Link(9600, 8, "E")),
    ("modbus_rtu", "100", "adw300", Link(9600, 8, "N")),
    ("modbus_rtu", "240", "sunspec", Link(9600, 8, "N")),
    ("modbus_rtu", "247", "pzem016", Link(9600, 8, "E")),
]


@pytest.mark.parametrize(("protocol", "address", "profile", "link"), ASKED)
def test_a_meter_that_answers_is_found_within_thirty_seconds(
    protocol: str, address: str, profile: str, link: Link
):
    device = meters.make(protocol, address, lambda: STATE, profile=profile, ask=protocol == "dlms")
    found, seconds, _ = search(device, link, 0.0)
    assert found is not None
    assert (found.ask, found.address) == {
        "dlms": (True, "1"),
        "modbus_rtu": (False, address),
    }.get(protocol, (False, ""))
    assert (found.protocol, found.profile, found.link.baud) == (protocol, profile, link.baud)
    assert seconds < 30


@pytest.mark.parametrize(
    ("protocol", "number", "given", "link"),
    [
        ("modbus_rtu", "77", "77", Link(2400, 8, "N")),
        ("dlms", "123", "1.34", Link(9600, 8, "N")),
    ],
)
def test_a_rare_address_is_found_when_it_is_given(
    protocol: str, number: str, given: str, link: Link
):
    time = VirtualTime()
    device = meters.make(protocol, number, lambda: STATE, profile="sdm120", ask=protocol == "dlms")
    wire = Wire(device, link, time)
    detector = Detector("COM5", time, factory=wire, stop=VirtualStop(time), address=given)
    found = detector.run().found
    assert found is not None
    assert (found.protocol, found.address, found.link.baud) == (protocol, given, link.baud)
    connection = Connection.found("COM5", found, Options(), 1.0)
    assert (connection.options.address, connection.options.ask) == (given, protocol == "dlms")


def test_the_link_a_dlms_meter_opened_is_closed_again():
    device = meters.make("dlms", "123", lambda: STATE, ask=True)
    found, _, wire = search(device, Link(9600, 8, "N"), 0.0)
    assert found is not None
    assert wire.asked[-1] == dlms_get.Station.parse("1").frame(dlms_get.DISC)


def test_the_list_of_what_was_tried_names_the_units():
    detection, _ = in_vain(Mute())
    tried = [attempt.what for attempt in detection.attempts]
    assert "ask Modbus units 2, 3, 4, 5, 10, 11, 100, 240, 247" in tried
    assert tried.count("ask DLMS") == 2


def test_the_first_answer_may_get_lost():
    class Sleepy(Asked):
        """Hears nothing the first time, as a meter does that has to wake up."""

        def __init__(self, device: Device) -> None:
            self._device, self._asleep = device, True

        def on_bytes(self, data: bytes, now: float) -> Replies:
            replies = self._device.on_bytes(data, now)
            if replies and self._asleep:
                self._asleep = False
                return []
            return replies

    meter = meters.make("dlt645", "123456789012", lambda: STATE)
    found, seconds, _ = search(Sleepy(meter), Link(2400, 8, "E"), 0.0)
    assert found is not None
    assert seconds < 30


def test_several_meters_that_answer_at_once_need_a_number():
    from tests.wallet_app.meter.bus import Bus

    numbers = ("000000000001", "000000000002")
    both = Bus([meters.make("dlt645", number, lambda: STATE) for number in numbers])

    class Colliding(Asked):
        """Two answers at the same time: what arrives is neither."""

        def on_bytes(self, data: bytes, now: float) -> Replies:
            replies = both.on_bytes(data, now)
            if len(replies) < 2:
                return replies
            first, second = (data for _, data in replies[:2])
            return [(0.0, bytes(a & b for a, b in zip(first, second, strict=False)))]

    link = Link(2400, 8, "E")
    time = VirtualTime()
    wire = Wire(Colliding(), link, time)
    stop = VirtualStop(time)
    detection = Detector("COM5", time, factory=wire, stop=stop).run()
    assert detection.found is None
    assert "give the number" in detection.advice
    wire = Wire(Colliding(), link, time)
    named = Detector("COM5", time, factory=wire, stop=stop, address="2").run()
    assert named.found is None  # a unit is no meter number
    named = Detector("COM5", time, factory=wire, stop=stop, address=numbers[1]).run()
    assert named.found is not None
    assert named.found.meter_id == numbers[1]


def test_nothing_takes_longer_than_thirty_seconds():
    detection, seconds = in_vain(Mute())
    assert detection.found is None
    assert seconds < 30
    # What was asked in vain is asked once more: the first answer may have got lost.
    assert [a.what for a in detection.attempts].count("ask DL/T 645") == 8


def search(device: Device, link: Link, phase: float) -> tuple[Found | None, float, Wire]:
    """Search in virtual time; return what was found, after how many seconds, and the wire."""
    time = VirtualTime()
    wire = Wire(device, link, time, phase)
    found = Detector("COM5", time, factory=wire, stop=VirtualStop(time)).run().found
    return found, time.seconds, wire
