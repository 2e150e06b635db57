"""Live figures: the meter's registers and the inverter's lines, through gaps, resets, rollovers."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from light_node.clock import MarketTime
from wallet_app.meter.events import Origin, Proof, Reading
from wallet_app.meter.recording import ReadingStore, RecordingError
from wallet_app.meter.roles import Role
from wallet_app.meter.session import MeterStatus
from wallet_app.trading.live import LiveFeed
from wallet_app.trading.telemetry import Telemetry

WALL = datetime(2026, 1, 1, tzinfo=UTC)
START = datetime(2026, 6, 21, 4, tzinfo=UTC)  # noon in Shanghai
SHANGHAI = ZoneInfo("Asia/Shanghai")
TIME = MarketTime(WALL, START, 60)


class Clock:
    def __init__(self) -> None:
        self.market = START

    def now(self) -> datetime:
        return TIME.to_wall(self.market)

    def monotonic(self) -> float:
        return (self.now() - WALL).total_seconds()


def day_start(moment: datetime) -> datetime:
    return moment.astimezone(SHANGHAI).replace(hour=0, minute=0, second=0, microsecond=0)


class Bench:
    """A feed over a store on disk; :meth:`restart` is a new run over the same file."""

    def __init__(self, path: Path) -> None:
        self.clock, self.path = Clock(), path
        self.changes = 0
        self.problems: list[str] = []
        self.store = ReadingStore(path)
        self.feed = self._feed()

    def _feed(self) -> LiveFeed:
        return LiveFeed(
            self.store,
            TIME,
            self.clock,
            day_start=day_start,
            max_power_w=30_000,
            battery_capacity_wh=10_000,
            on_change=self._changed,
            on_problem=self.problems.append,
        )

    def _changed(self) -> None:
        self.changes += 1

    def restart(self) -> None:
        self.store.close()
        self.store = ReadingStore(self.path)
        self.feed = self._feed()

    def read(
        self, minutes: float, imported: str | None, exported: str | None = "0", **changes: Any
    ) -> None:
        """Take a reading ``minutes`` after the start; registers in kWh."""
        self.clock.market = START + timedelta(minutes=minutes)
        values = {"import_kwh": imported, "export_kwh": exported, "power_w": changes.pop("w", None)}
        fields: dict[str, Any] = {
            "host_time": self.clock.now(),
            "monotonic": self.clock.monotonic(),
            "meter_id": "12",
            "protocol": "dlt645",
            "values": {name: Decimal(v) for name, v in values.items() if v is not None},
            "proof": Proof.BCC,
            "raw": b"\x68",
            "origin": Origin.METER,
        }
        self.feed.take_reading(Reading(**{**fields, **changes}))

    def say(self, minutes: float, **changes: Any) -> None:
        line = {
            "market": (START + timedelta(minutes=minutes)).isoformat(),
            "roof_w": 3_000, "house_w": 1_000, "battery_w": 500, "battery_wh": 4_000,
            "roof_wh": 50_000, "house_wh": 10_000,
        }  # fmt: skip
        self.feed.take_telemetry({**line, **changes})


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "readings.sqlite")
    yield made
    made.store.close()


def test_nothing_is_known_before_anything_was_read(bench: Bench) -> None:
    view = bench.feed.view()
    assert (view.grid_power_w, view.house_power_w, view.battery_wh) == (None, None, None)
    assert (view.today_import_wh, view.meter_age_s, view.meter_id) == (None, None, "")
    assert bench.feed.energy(START, START + timedelta(hours=1)) is None
    assert bench.feed.natural_wh(START, START + timedelta(hours=1)) is None


def test_figures_age_and_series(bench: Bench) -> None:
    bench.read(0, "100.00", w="-1500")
    bench.read(30, "100.20", "0.50", w="2500")
    bench.feed.take_status(MeterStatus("reading", "/dev/ttyUSB0", "reading meter 12"))
    bench.clock.market += timedelta(minutes=30)
    view = bench.feed.view()
    assert view.grid_power_w == 2_500
    assert (view.today_import_wh, view.today_export_wh) == (200, 500)
    assert view.meter_age_s == 30  # seconds of this machine, not of the market
    assert (view.meter_port, view.meter_state) == ("/dev/ttyUSB0", "reading meter 12")
    assert bench.feed.series() == (
        (START.timestamp(), -1_500),
        (START.timestamp() + 1_800, 2_500),
    )
    assert bench.changes == 3


def test_the_series_begins_anew_at_local_midnight(bench: Bench) -> None:
    bench.read(0, "100", w="1")
    bench.read(12 * 60 + 1, "101", w="2")
    assert [watt for _, watt in bench.feed.series()] == [2]
    assert bench.feed.view().today_import_wh == 1  # interpolated over midnight


def test_a_slot_between_readings_and_its_registers(bench: Bench) -> None:
    bench.read(-1, "100.00", "50.00")
    bench.read(1, "100.20", "50.00")
    bench.read(59, "103.00", "50.40")
    bench.read(61, "103.20", "50.80")
    energy = bench.feed.energy(START, START + timedelta(hours=1))
    assert energy is not None
    assert (energy.import_wh, energy.export_wh, energy.net_wh) == (3_000, 600, 2_400)
    assert (energy.register_import_wh, energy.register_export_wh) == (103_200, 50_800)
    assert (energy.complete, energy.origin, energy.meter_id) == (True, "meter", "12")


def test_a_slot_is_not_known_until_a_reading_follows_it(bench: Bench) -> None:
    bench.read(-1, "100.00")
    bench.read(59, "103.00")
    assert bench.feed.energy(START, START + timedelta(hours=1)) is None


def test_a_gap_over_a_boundary_is_an_estimate(bench: Bench) -> None:
    bench.read(0, "100.00")
    bench.read(40, "102.00")
    bench.read(70, "105.00", after_gap="no answer from the meter")
    energy = bench.feed.energy(START, START + timedelta(hours=1))
    assert energy is not None
    assert (energy.import_wh, energy.complete) == (4_000, False)


def test_simulated_readings_say_so(bench: Bench) -> None:
    bench.read(0, "100.00", origin=Origin.SIMULATED)
    bench.read(60, "101.00", origin=Origin.SIMULATED)
    energy = bench.feed.energy(START, START + timedelta(hours=1))
    assert energy is not None
    assert energy.origin == "simulated"


def test_a_missing_register_is_not_known_rather_than_zero(bench: Bench) -> None:
    bench.read(0, "100.00", None)
    bench.read(60, "101.00", None)
    assert bench.feed.energy(START, START + timedelta(hours=1)) is None
    view = bench.feed.view()
    assert (view.today_import_wh, view.today_export_wh) == (1_000, None)


def test_a_register_that_rolls_over_goes_on_counting(bench: Bench) -> None:
    bench.read(0, "999999.50")
    bench.read(30, "999999.90")
    bench.read(60, "0.40")
    assert not bench.problems
    energy = bench.feed.energy(START, START + timedelta(hours=1))
    assert energy is not None
    assert energy.import_wh == 900
    assert bench.feed.view().today_import_wh == 900


def test_a_reading_that_cannot_be_true_changes_nothing_and_is_told(bench: Bench) -> None:
    bench.read(0, "100.00", w="1000")
    bench.read(1, "90.00", w="9999")
    assert bench.problems == ["the register stepped back"]
    assert bench.feed.view().grid_power_w == 1_000
    assert len(bench.feed.series()) == 1


def test_today_goes_on_after_a_restart(bench: Bench) -> None:
    bench.read(-13 * 60, "99.00")  # yesterday evening
    bench.read(-11 * 60, "101.00")  # 01:00: half of it was yesterday's
    bench.read(0, "105.00")
    before = bench.feed.view()
    assert before.today_import_wh == 5_000
    bench.restart()
    assert bench.feed.view().grid_power_w is None
    assert bench.feed.view().today_import_wh is None  # nothing was read in this run yet
    bench.read(1, "105.02")
    assert bench.feed.view().today_import_wh == 5_020


def test_today_without_a_reading_from_before_midnight_counts_from_the_first_of_the_day(
    bench: Bench,
) -> None:
    bench.read(-60, "100.00")
    bench.restart()
    bench.read(0, "100.50")
    assert bench.feed.view().today_import_wh == 500


def test_an_exchanged_meter_counts_from_its_own_first_reading(bench: Bench) -> None:
    bench.read(0, "100.00")
    bench.read(10, "0.20", meter_id="77")
    assert bench.feed.view().today_import_wh == 0
    bench.read(20, "0.30", meter_id="77")
    assert bench.feed.view().today_import_wh == 100
    assert bench.feed.meter_id == "77"


def test_a_full_disk_passes_as_what_it_is(bench: Bench) -> None:
    bench.read(0, "100.00", w="1000")
    bench.store.close()
    with pytest.raises(RecordingError):
        bench.read(1, "100.01", w="2000")
    assert bench.feed.view().grid_power_w == 1_000  # nothing is shown that was not kept


# -- the inverter -------------------------------------------------------------------------------


def test_what_the_inverter_says(bench: Bench) -> None:
    bench.say(0)
    view = bench.feed.view()
    assert (view.roof_power_w, view.house_power_w, view.battery_power_w) == (3_000, 1_000, 500)
    assert (view.battery_wh, view.battery_capacity_wh) == (4_000, 10_000)
    assert bench.feed.stored_wh == 4_000
    bench.say(60, roof_wh=52_500)
    assert bench.feed.view().today_roof_wh == 2_500


def test_load_minus_roof_of_a_slot_between_lines(bench: Bench) -> None:
    for minutes in range(-10, 71, 10):
        bench.say(minutes, house_wh=10_000 + 10 * minutes, roof_wh=50_000 + 40 * minutes)
    end = START + timedelta(hours=1)
    assert bench.feed.natural_wh(START, end) == (10 - 40) * 60
    assert bench.feed.natural_wh(START, end + timedelta(hours=1)) is None  # not over yet
    assert bench.feed.natural_wh(START - timedelta(hours=1), end) is None  # began before us


def test_an_inverter_that_starts_anew_is_not_subtracted_from_its_past(bench: Bench) -> None:
    bench.say(0, house_wh=10_000, roof_wh=0)
    bench.say(30, house_wh=12_000, roof_wh=0)
    bench.say(10, house_wh=0, roof_wh=0)  # another one: its clock and counters begin again
    bench.say(70, house_wh=900, roof_wh=0)
    assert bench.feed.natural_wh(START, START + timedelta(hours=1)) is None
    assert (
        bench.feed.natural_wh(START + timedelta(minutes=10), START + timedelta(minutes=70)) == 900
    )


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"market": 5},
        {"market": "yesterday"},
        {"market": "2026-06-21T04:00:00"},  # no zone
        {"market": "0001-01-01T00:00:00+00:00"},
        {"market": "9999-12-31T23:59:59+00:00"},
        {"roof_w": None},
        {"roof_w": True},
        {"roof_w": 1.5},
        {"roof_w": "3000"},
        {"battery_wh": 10**12},
    ],
)
def test_a_foreign_line_changes_nothing(bench: Bench, line: dict[str, Any]) -> None:
    bench.say(0)
    before, changes = bench.feed.view(), bench.changes
    if line:
        bench.say(1, **line)
    else:
        bench.feed.take_telemetry({})
    assert bench.feed.view() == before
    assert bench.changes == changes


def test_a_line_lacking_a_field_is_none() -> None:
    line = {"market": START.isoformat(), "roof_w": 1}
    assert Telemetry.from_json(line) is None


def test_views_while_readings_come(bench: Bench) -> None:
    """Readings, telemetry and views come from three threads."""
    import threading

    errors: list[BaseException] = []

    def repeat(work: Callable[[int], object]) -> Callable[[], None]:
        def run() -> None:
            try:
                for number in range(100):
                    work(number)
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)

        return run

    bench.read(0, "100.00", w="1")
    works: list[Callable[[int], object]] = [
        lambda n: bench.read(1 + n, f"{100 + n / 100:.2f}", w=str(n)),
        lambda n: bench.say(n),
        lambda n: (bench.feed.view(), bench.feed.series(), bench.feed.stored_wh),
    ]
    threads = [threading.Thread(target=repeat(work)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert bench.feed.view().grid_power_w == 99


HOUR = timedelta(hours=1)


def test_of_several_meters_only_those_at_the_connection_count(bench: Bench) -> None:
    bench.feed.use_roles(
        {"12": Role.GRID, "fed": Role.REVERSED, "roof": Role.GENERATION, "pump": Role.WATCH}
    )
    for minutes, house, sold, roof in ((0, "10", "5", "7"), (60, "11.5", "7", "10")):
        bench.read(minutes, house, "1", w="800")
        bench.read(minutes, sold, "0", meter_id="fed", w="2000")  # forward is fed in
        bench.read(minutes, roof, "0", meter_id="roof", w="2500")
        bench.read(minutes, "900", "0", meter_id="pump", w="300")
    energy = bench.feed.energy(START, START + HOUR)
    assert energy is not None
    assert (energy.import_wh, energy.export_wh) == (1_500, 2_000)
    assert (energy.register_import_wh, energy.register_export_wh) == (11_500, 8_000)
    assert energy.meter_id == "12 + fed"
    view = bench.feed.view()
    assert (view.grid_power_w, view.roof_power_w, view.house_power_w) == (-1_200, 2_500, 1_300)
    assert (view.today_import_wh, view.today_export_wh) == (1_500, 2_000)


def test_what_one_of_several_meters_did_not_measure_is_not_known(bench: Bench) -> None:
    bench.feed.use_roles({"a": Role.GRID, "b": Role.GRID, "c": Role.GRID})
    for minutes in (0, 60):
        bench.read(minutes, str(10 + minutes / 60), meter_id="a", w="100")
        bench.read(minutes, str(20 + minutes / 60), meter_id="b", w="100")
    assert bench.feed.energy(START, START + HOUR) is None  # "c" was never read
    assert bench.feed.view().grid_power_w is None
    bench.read(61, "5", meter_id="c", w="100")
    assert bench.feed.energy(START, START + HOUR) is None  # and not at the start of the hour
    assert bench.feed.view().grid_power_w == 300
    assert bench.feed.energy(START + HOUR, START + HOUR + timedelta(minutes=1)) is None


def test_a_register_that_fails_on_one_of_several_meters_is_not_zero(bench: Bench) -> None:
    bench.feed.use_roles({"a": Role.GRID, "b": Role.GRID})
    for minutes, exported in ((0, "1"), (60, None)):
        bench.read(minutes, str(10 + minutes / 60), "0", meter_id="a")
        bench.read(minutes, str(20 + minutes / 60), exported, meter_id="b")
    assert bench.feed.energy(START, START + HOUR) is None


def test_a_meter_that_counts_one_way_only_adds_nothing_to_the_other(bench: Bench) -> None:
    bench.feed.use_roles({"in": Role.GRID, "out": Role.GRID})
    for minutes in range(0, 66, 6):
        bench.read(minutes, str(10 + minutes / 100), None, meter_id="in")
        bench.read(minutes, None, str(20 + minutes / 50), meter_id="out")
        if minutes == 48:  # nine readings each do not yet say that there is no such register
            assert bench.feed.energy(START, START + timedelta(minutes=48)) is None
    energy = bench.feed.energy(START, START + HOUR)
    assert energy is not None
    assert (energy.import_wh, energy.export_wh) == (600, 1_200)


def test_a_meter_without_a_role_is_named_once_and_not_counted(bench: Bench) -> None:
    bench.feed.use_roles({"a": Role.GRID})
    for minutes in (0, 60):
        bench.read(minutes, str(10 + minutes / 60), meter_id="a")
        bench.read(minutes, str(500 + minutes / 60), meter_id="new")
    assert bench.problems == ["the meter new has no role: choose one on the Meters page"]
    energy = bench.feed.energy(START, START + HOUR)
    assert energy is not None
    assert (energy.import_wh, energy.meter_id) == (1_000, "a")
    bench.feed.use_roles({})
    assert bench.feed.energy(START, START + HOUR) is None
    assert bench.feed.view().grid_power_w is None


def test_a_register_left_out_of_the_newest_reading_keeps_its_last_value(bench: Bench) -> None:
    bench.read(0, "10", "5")
    bench.read(60, "11", "6")
    bench.read(61, "11", None)
    energy = bench.feed.energy(START, START + HOUR)
    assert energy is not None
    assert (energy.register_import_wh, energy.register_export_wh) == (11_000, 6_000)


def test_the_reset_of_one_of_several_meters_is_that_meters(bench: Bench) -> None:
    bench.feed.use_roles({"a": Role.GRID, "b": Role.GRID})
    for meter in "ab":
        bench.read(0, "10", meter_id=meter)
    bench.feed.confirm_reset("b")
    bench.read(1, "5", meter_id="a")  # not the one that was reset: still impossible
    bench.read(1, "0", meter_id="b")
    assert len(bench.problems) == 1
    bench.read(2, "0.01", meter_id="b")
    assert len(bench.problems) == 1
