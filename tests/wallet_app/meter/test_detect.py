"""Finding protocol, speed and number of what hangs on a port."""

import sys

import pytest

from light_node.clock import SystemClock
from wallet_app.meter.detect import Detection, Detector
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
    in_waiting = 0

    def __init__(self, owner: AtSpeed) -> None:
        self._owner = owner

    def read(self, _size: int = 1) -> bytes:
        return b""

    def write(self, data: bytes) -> int:
        self._owner.asked.append(data)
        return len(data)

    def flush(self) -> None: ...

    def reset_input_buffer(self) -> None: ...

    def close(self) -> None: ...


def detect(device: Device, baud: int, parity: str, scale: float = 0.06) -> Detection:
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
        ("dlt645", "123456789012", False, "", 4800, "E"),
        ("dlt698", "123456789012", False, "", 9600, "E"),
        ("modbus_rtu", "1", False, "sdm630", 9600, "N"),
        ("modbus_rtu", "1", False, "sdm120", 2400, "N"),
        ("modbus_rtu", "1", False, "dtsu666", 9600, "E"),
        ("modbus_rtu", "1", False, "ddsu666", 9600, "N"),
        ("modbus_rtu", "1", False, "adw300", 9600, "N"),
        ("iec62056_21", "123", False, "", 300, "N"),
    ],
)
def test_finds(protocol: str, address: str, push: bool, profile: str, baud: int, parity: str):
    device = meters.make(protocol, address, lambda: STATE, profile=profile, push=push)
    if hasattr(device, "_delay"):
        device._delay = 0.0
    found = detect(device, baud, parity).found
    assert found is not None
    assert (found.protocol, found.profile) == (protocol, profile)
    assert (found.link.baud, found.link.parity) == (baud, parity)
    assert found.listen is (device.period_s is not None)
    assert found.proven is not push
    assert found.meter_id


def test_silence_says_what_to_check():
    class Mute(Asked):
        def on_bytes(self, _data: bytes, _now: float) -> Replies:
            return []

    detection = detect(Mute(), 9600, "N", scale=0.01)
    assert detection.found is None
    assert "nothing was heard" in detection.advice
    assert {attempt.result for attempt in detection.attempts} == {"silence"}
    assert len(detection.attempts) == 19


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


def test_the_short_round_takes_less_than_thirty_seconds():
    from wallet_app.meter import detect as module

    listening = sum(step.seconds for step in module._listening(1.0))
    asking = 0.0
    for step in module._asking():
        longest = 64 if "IEC" in step.what else 40
        asking += 0.5 + longest * step.link.byte_s
    assert listening + asking < 30
