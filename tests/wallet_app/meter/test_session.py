"""The session against a simulated meter on a pseudo-terminal: all that a cable does."""

import queue
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from light_node.clock import SystemClock
from wallet_app.meter import dlt645
from wallet_app.meter.events import Origin, Reading
from wallet_app.meter.ports import Line, Link, PortError, PortInfo, open_port
from wallet_app.meter.session import MeterSession, MeterStatus, Timing

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are POSIX", allow_module_level=True)

from wallet_app.meter.simulator.dlt645 import Dlt645Meter, Faults
from wallet_app.meter.simulator.home import HomeState
from wallet_app.meter.simulator.terminal import MeterTerminal

ADDRESS = "202611200001"
QUICK = Timing(reply_s=0.15, retry_s=0.01, between_s=0.0, reopen_s=0.05)
STATE = HomeState(datetime(2026, 6, 21, tzinfo=UTC), 2000, 500, 0, 0, 12_345_678, 9_999, 231.04)


class Bench:
    """A session on a terminal that can be pulled out, and what it reported."""

    def __init__(self, faults: Faults, **options: object) -> None:
        self.faults = faults
        self.readings: queue.Queue[Reading] = queue.Queue()
        self.statuses: list[MeterStatus] = []
        self._changed = threading.Condition()
        self.terminal = self.plug_in()
        arguments: dict[str, object] = {"address": ADDRESS, "interval_s": 0.02, "timing": QUICK}
        arguments |= {"link": Link(115200, 8, "N", 1), "port_list": self.port_list, **options}
        arguments = {"clock": SystemClock(), **arguments}
        self.session = MeterSession(
            self.terminal.port,
            on_reading=self.readings.put,
            on_status=self.on_status,
            **arguments,  # type: ignore[arg-type]
        )
        self.session.start()

    def plug_in(self) -> MeterTerminal:
        meter = Dlt645Meter(ADDRESS, lambda: STATE, faults=self.faults, reply_delay_s=0.0)
        return MeterTerminal(meter)

    def port_list(self) -> list[PortInfo]:
        return [PortInfo(self.terminal.port, "adapter", "0403:6001:A1", likely=True)]

    def on_status(self, status: MeterStatus) -> None:
        with self._changed:
            self.statuses.append(status)
            self._changed.notify_all()

    def wait_for(self, state: str) -> MeterStatus:
        with self._changed:
            assert self._changed.wait_for(lambda: state in [s.state for s in self.statuses], 20)
            return next(s for s in self.statuses if s.state == state)

    def next_reading(self) -> Reading:
        return self.readings.get(timeout=20)

    def close(self) -> None:
        self.session.stop()
        self.terminal.close()


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(faults: Faults | None = None, **options: object) -> Bench:
        made.append(Bench(faults or Faults(), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_reads_everything_and_says_that_it_is_simulated(bench: Callable[..., Bench]):
    reading = bench().next_reading()
    assert reading.import_kwh == Decimal("12345.67")
    assert reading.export_kwh == Decimal("9.99")
    assert reading.power_w == Decimal(-1500)
    assert reading.voltage_v() == Decimal("231.0")
    assert reading.voltage_v(2) is None
    assert reading.current_a() == Decimal("-6.492")
    assert reading.frequency_hz == 50
    assert reading.meter_id == ADDRESS
    assert reading.origin is Origin.SIMULATED
    assert reading.host_time.tzinfo is not None
    parser = dlt645.Dlt645Parser()
    assert len(parser.feed(reading.raw)) == 8


def test_asks_for_the_number_and_finds_the_speed_by_itself(bench: Callable[..., Bench]):
    reading = bench(address=None, link=None).next_reading()
    assert reading.meter_id == ADDRESS


def test_values_the_meter_has_not_are_absent_and_not_asked_again(bench: Callable[..., Bench]):
    faults = Faults(refused={dlt645.EXPORT_TOTAL, dlt645.FREQUENCY})
    made = bench(faults)
    reading = made.next_reading()
    assert reading.export_kwh is None
    assert reading.import_kwh is not None
    faults.refused.clear()
    made.next_reading()
    assert made.next_reading().export_kwh is None


@pytest.mark.parametrize(
    "faults",
    [
        Faults(echo=True),
        Faults(noise=b"\x00\xff\x68\x16"),
        Faults(wrong_sum=2),
        Faults(flip_bit=2),
        Faults(half_frame=2),
        Faults(other_meter=2),
    ],
    ids=["echo", "noise", "wrong sum", "flipped bit", "half frame", "other meter"],
)
def test_right_values_in_spite_of(faults: Faults, bench: Callable[..., Bench]):
    reading = bench(faults).next_reading()
    assert reading.import_kwh == Decimal("12345.67")
    assert reading.meter_id == ADDRESS


def test_damaged_frames_are_counted(bench: Callable[..., Bench]):
    made = bench(Faults(wrong_sum=2))
    made.next_reading()
    status = made.wait_for("reading")
    assert status.bad_frames == 2
    assert status.good_frames == 8  # six questions of values, date and time
    assert status.last_good is not None


def test_values_not_available_are_missing_not_zero(bench: Callable[..., Bench]):
    reading = bench(Faults(not_available=True)).next_reading()
    assert reading.values == {}
    assert reading.import_kwh is None


def test_silence_is_told_and_ends(bench: Callable[..., Bench]):
    made = bench(Faults(silent=True))
    text = made.wait_for("silent").text
    assert "check that the meter has power" in text
    made.faults.silent = False
    reading = made.next_reading()
    assert reading.after_gap == "no answer from the meter"
    assert made.next_reading().after_gap == ""


def test_unplugged_in_mid_day_and_found_on_another_port(bench: Callable[..., Bench]):
    made = bench()
    made.next_reading()
    made.terminal.unplug()
    assert "plug" in made.wait_for("unplugged").text
    while not made.readings.empty():
        made.readings.get()
    with MeterTerminal(Dlt645Meter("1", lambda: STATE)):  # takes the old name
        made.terminal = made.plug_in()
    reading = made.next_reading()
    assert reading.after_gap == "the adapter was unplugged"
    assert made.session.status.port == made.terminal.port


def test_no_port_says_what_to_do(bench: Callable[..., Bench]):
    made = bench(port_factory=lambda _, link: open_port("/dev/no-such-port", link))
    assert "there is no port /dev/no-such-port: plug in" in made.wait_for("error").text


def test_port_that_comes_later_is_taken(bench: Callable[..., Bench]):
    attempts = iter([PortError("not yet"), PortError("not yet")])

    def factory(device: str, link: Link) -> Line:
        for error in attempts:
            raise error
        return open_port(device, link)

    assert bench(port_factory=factory).next_reading().meter_id == ADDRESS


def test_a_line_that_returns_nothing_at_once_does_not_spin(bench: Callable[..., Bench]):
    class Dead:
        reads = 0

        def read(self, _size: int = 1, _wait_s: float = 0.0) -> bytes:
            self.reads += 1
            return b""

        def write(self, data: bytes) -> int:
            return len(data)

        def flush(self) -> None: ...

        def reset_input_buffer(self) -> None: ...

        def close(self) -> None: ...

    line = Dead()
    made = bench(port_factory=lambda *_: line)
    made.wait_for("silent")
    assert line.reads < 500


def test_garbage_of_a_wrong_parity_is_no_reading(bench: Callable[..., Bench]):
    class Garbled(Dlt645Meter):
        def on_bytes(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
            wrong = bytes(b | 0x80 if b.bit_count() % 2 else b for b in data)
            replies = super().on_bytes(data, now)
            return [
                (delay, bytes(b | 0x80 if b.bit_count() % 2 else b for b in reply))
                for delay, reply in [*replies, (0.0, wrong)]
            ]

    with MeterTerminal(Garbled(ADDRESS, lambda: STATE, reply_delay_s=0.0)) as terminal:
        made = bench(port_factory=lambda _, link: open_port(terminal.port, link))
        assert made.wait_for("silent").good_frames == 0
        assert made.readings.empty()
        made.session.stop()


def test_request_now_does_not_wait_for_the_interval(bench: Callable[..., Bench]):
    made = bench(interval_s=3600.0)
    made.next_reading()
    made.session.request_now()
    made.next_reading()


def test_stop_gives_the_port_back_and_start_works_once(bench: Callable[..., Bench]):
    made = bench()
    made.next_reading()
    made.session.stop()
    open_port(made.terminal.port, Link()).close()
    with pytest.raises(RuntimeError):
        made.session.start()


@pytest.mark.parametrize(
    "options", [{"interval_s": 0}, {"address": "twelve"}, {"protocol": "morse"}]
)
def test_impossible_sessions_are_refused(options: dict[str, object]):
    arguments: dict[str, object] = {"interval_s": 1.0, **options}
    with pytest.raises(ValueError, match=r"interval|address|protocol"):
        MeterSession(
            "COM1",
            clock=SystemClock(),
            on_reading=lambda _: None,
            on_status=lambda _: None,
            **arguments,  # type: ignore[arg-type]
        )


class JumpingClock(SystemClock):
    """A machine whose wall clock jumps, or that sleeps, when told to."""

    def __init__(self) -> None:
        self.ahead, self.slept_s = timedelta(0), 0.0

    def now(self) -> datetime:
        return super().now() + self.ahead + timedelta(seconds=self.slept_s)

    def monotonic(self) -> float:
        return super().monotonic() + self.slept_s


@pytest.mark.parametrize("jump", [timedelta(hours=8), timedelta(hours=-1)])
def test_a_jump_of_the_host_clock_is_marked(bench: Callable[..., Bench], jump: timedelta):
    clock = JumpingClock()
    made = bench(clock=clock)
    assert made.next_reading().problems == ()
    clock.ahead = jump
    # What was read before the jump may still be waiting in the queue.
    found = next(r for r in iter(made.next_reading, None) if r.problems)
    assert found.problems == ("clock_jump",)
    assert [made.next_reading().problems for _ in range(3)] == [(), (), ()]


def test_a_sleep_of_the_machine_is_a_gap_and_opens_the_port_anew(bench: Callable[..., Bench]):
    clock, opened = JumpingClock(), []

    def factory(device: str, link: Link) -> Line:
        opened.append(device)
        return open_port(device, link)

    made = bench(clock=clock, port_factory=factory)
    made.next_reading()
    clock.slept_s = 8 * 3600.0
    found = next(r for r in iter(made.next_reading, None) if r.after_gap)
    assert found.after_gap == "the computer slept"
    assert found.problems == ()  # both clocks went on: no jump
    assert len(opened) == 2
    assert made.session.status.gaps == 1


def test_the_clock_of_a_dlt645_meter_is_read_now_and_then(bench: Callable[..., Bench]):
    made = bench()
    first, second = made.next_reading(), made.next_reading()
    # At midnight date and time could be of two days: such a clock is left out.
    assert first.meter_clock == ""
    noon = replace(STATE, market=datetime(2026, 6, 21, 12, tzinfo=UTC))
    with MeterTerminal(Dlt645Meter(ADDRESS, lambda: noon, reply_delay_s=0.0)) as terminal:
        other = bench(port_factory=lambda _, link: open_port(terminal.port, link))
        clocks = [other.next_reading().meter_clock for _ in range(3)]
        other.session.stop()
    assert clocks == ["2026-06-21T12:00:00", "", ""]
    assert second.meter_clock == ""


def test_several_meters_on_one_line_are_read_in_turn():
    from tests.wallet_app.meter.bus import Bus

    numbers = ("1", "2", "3")
    meters = [Dlt645Meter(n.zfill(12), lambda: STATE, reply_delay_s=0.0) for n in numbers[:2]]
    readings: queue.Queue[Reading] = queue.Queue()
    with MeterTerminal(Bus(meters)) as terminal:
        session = MeterSession(
            terminal.port,
            address=", ".join(numbers),
            interval_s=0.02,
            clock=SystemClock(),
            on_reading=readings.put,
            on_status=lambda _: None,
            timing=QUICK,
            link=Link(115200, 8, "N", 1),
        )
        session.start()
        found = [readings.get(timeout=20).meter_id for _ in range(6)]
        status = session.status
        session.stop()
    # The third is not there: that costs its polls, not those of the others.
    assert found == ["000000000001", "000000000002"] * 3
    assert status.missed >= 2


def test_an_adapter_known_from_before_is_opened_under_its_new_name(bench: Callable[..., Bench]):
    made = bench(identity="0403:6001:A1")
    made.next_reading()
    other = MeterSession(
        "/dev/ttyUSB9",
        address=ADDRESS,
        interval_s=1.0,
        clock=SystemClock(),
        on_reading=lambda _: None,
        on_status=lambda _: None,
        identity="0403:6001:A1",
        port_list=made.port_list,
        timing=QUICK,
    )
    other.start()
    deadline = threading.Event()
    while "in use" not in other.status.text and not deadline.wait(0.02):
        assert other.status.state in ("searching", "error")
    # Found under its new name, and not opened a second time while the first session has it.
    assert made.terminal.port in other.status.text
    other.stop()
