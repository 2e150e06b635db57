"""What may count: the rules of docs/meter-protocols.md section 15, one by one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from wallet_app.meter.events import Proof, Reading
from wallet_app.meter.plausibility import Limits, Memory, Verdict, clock_offset_s, judge, rebase

START = datetime(2026, 6, 21, 10, tzinfo=UTC)
LIMITS = Limits(max_power_w=10_000)


def reading(seconds: float = 0, meter: str = "A", clock: str = "", **values: str) -> Reading:
    return Reading(
        host_time=START + timedelta(seconds=seconds),
        monotonic=100.0 + seconds,
        meter_id=meter,
        protocol="dlt645",
        values={key: Decimal(text) for key, text in values.items()},
        proof=Proof.CRC,
        raw=b"",
        meter_clock=clock,
    )


def run(*readings: Reading, limits: Limits = LIMITS) -> list[Verdict]:
    memory, verdicts = Memory(), []
    for each in readings:
        verdict, memory = judge(each, memory, limits)
        verdicts.append(verdict)
    return verdicts


def test_an_ordinary_hour():
    first, second = run(
        reading(0, import_kwh="100", export_kwh="5"),
        reading(3600, import_kwh="109.9", export_kwh="5"),
    )
    assert first.accepted
    assert "first" in first.flags
    assert second.accepted
    assert second.flags == ()


@pytest.mark.parametrize("key", ["import_kwh", "export_kwh"])
def test_a_momentary_zero_is_rejected_and_never_becomes_the_base(key: str):
    _, zero, after = run(
        reading(0, **{key: "100"}), reading(60, **{key: "0"}), reading(120, **{key: "100.1"})
    )
    assert not zero.accepted
    assert "register_back" in zero.flags
    assert after.accepted


def test_three_rejected_readings_that_agree_lead_to_a_question():
    verdicts = run(
        reading(0, import_kwh="100"),
        *(reading(60 * n, import_kwh=f"0.{n:02d}") for n in (1, 2, 3)),
    )
    assert [v.ask != "" for v in verdicts] == [False, False, False, True]
    assert not verdicts[-1].accepted


def test_three_rejected_readings_at_odds_with_each_other_do_not():
    verdicts = run(
        reading(0, import_kwh="100"),
        *(reading(60 * n, import_kwh=str(50 - n)) for n in (1, 2, 3)),
    )
    assert verdicts[-1].ask == ""


def test_the_user_can_say_that_the_meter_was_reset():
    _, memory = judge(reading(0, import_kwh="100"), Memory(), LIMITS)
    verdict, memory = rebase(reading(60, import_kwh="0.01"), memory)
    assert verdict.accepted
    assert verdict.new_series
    verdict, _ = judge(reading(120, import_kwh="0.02"), memory, LIMITS)
    assert verdict.accepted


def test_roll_over_only_near_the_end_and_by_little():
    limits = replace(LIMITS, register_end_kwh=Decimal(1000))
    _, rolled = run(reading(0, import_kwh="999.9"), reading(60, import_kwh="0.05"), limits=limits)
    assert rolled.accepted
    assert rolled.rolled_over == {"import_kwh": Decimal(1000)}
    _, far = run(reading(0, import_kwh="980"), reading(60, import_kwh="0.05"), limits=limits)
    assert not far.accepted
    _, much = run(reading(0, import_kwh="999.9"), reading(60, import_kwh="5"), limits=limits)
    assert not much.accepted


def test_more_energy_than_the_connection_can_carry():
    # 10 kW for 60 s are 0.1667 kWh; 5 % and one register step are allowed on top.
    for energy, good in (("100.18", True), ("100.19", False)):
        _, verdict = run(reading(0, import_kwh="100"), reading(60, import_kwh=energy))
        assert verdict.accepted is good
    assert "too_much_energy" in verdict.flags


def test_accelerated_time_allows_accelerated_energy():
    fast = replace(LIMITS, rate=960)
    _, verdict = run(reading(0, import_kwh="100"), reading(1, import_kwh="102.5"), limits=fast)
    assert verdict.accepted


def test_host_clock_set_forward_does_not_allow_more():
    jumped = replace(reading(60, import_kwh="130"), problems=("clock_jump",))
    jumped = replace(jumped, host_time=jumped.host_time + timedelta(days=1))
    _, verdict = run(reading(0, import_kwh="100"), jumped)
    assert not verdict.accepted
    assert "clock_jump" in verdict.flags


def test_total_against_tariffs():
    good = reading(import_kwh="10", import_t1_kwh="6.02", import_t2_kwh="4.01")
    bad = reading(import_kwh="10", import_t1_kwh="7", import_t2_kwh="4")
    assert run(reading(import_kwh="10"), good)[1].accepted
    assert "tariff_sum" in run(reading(import_kwh="10"), bad)[1].flags


def test_impossible_volts_and_hertz_are_dropped_but_not_the_reading():
    (verdict,) = run(
        reading(import_kwh="1", voltage_l1_v="655.3", voltage_l2_v="0", frequency_hz="0")
    )
    assert verdict.accepted
    assert set(verdict.values) == {"import_kwh", "voltage_l2_v"}
    assert {"voltage", "frequency"} <= set(verdict.flags)


def test_phases_that_miss_the_total_are_marked():
    (verdict,) = run(reading(power_w="1000", power_l1_w="1", power_l2_w="2", power_l3_w="3"))
    assert "phase_sum" in verdict.flags


def test_a_counter_that_stands_while_power_flows():
    steady = [reading(n * 15, import_kwh="100", power_w="2000") for n in range(8)]
    verdicts = run(*steady)
    assert "stuck" not in verdicts[3].flags  # 25 Wh: less than three steps of 10 Wh
    assert "stuck" in verdicts[4].flags
    moving = [reading(n * 15, import_kwh=f"100.0{n}", power_w="2000") for n in range(8)]
    assert all("stuck" not in v.flags for v in run(*moving))


def test_power_far_from_the_registers():
    _, verdict = run(
        reading(0, import_kwh="100", power_w="9000"), reading(900, import_kwh="100", power_w="9000")
    )
    assert "power_energy" in verdict.flags


def test_another_meter_starts_a_new_series():
    _, other, next_one = run(
        reading(0, import_kwh="100"),
        reading(60, "B", import_kwh="3"),
        reading(120, "B", import_kwh="3.01"),
    )
    assert other.accepted
    assert "new_meter" in other.flags
    assert "exchanged" in other.ask
    assert next_one.accepted


def test_replayed_telegram():
    _, old = run(
        reading(0, import_kwh="100", clock="2026-06-21T10:00:00+00:00"),
        reading(60, import_kwh="90", clock="2026-06-21T09:00:00+00:00"),
    )
    assert not old.accepted
    assert "replay" in old.flags


@pytest.mark.parametrize(
    ("clock", "flag"),
    [
        ("2026-06-21T10:00:30+00:00", None),
        ("2026-06-21T10:05:00+00:00", "clock_off"),
        ("2026-01-21T10:05:00+00:00", "clock_wrong"),
        ("2018-17-40T00:00:00+00:00", "clock_invalid"),
        ("2026-01-21T10:05:00", None),
    ],
)
def test_meter_clock_never_spoils_energies(clock: str, flag: str | None):
    (verdict,) = run(reading(import_kwh="1", clock=clock))
    assert verdict.accepted
    assert [f for f in verdict.flags if f.startswith("clock")] == ([flag] if flag else [])


def test_without_checksum_two_alike_are_needed():
    bare = [replace(reading(n, import_kwh=f"1.0{n}"), proof=Proof.NONE) for n in range(2)]
    first, second = run(*bare)
    assert not first.accepted
    assert "unproven" in first.flags
    assert second.accepted
    odd = replace(reading(2, import_kwh="9000"), proof=Proof.NONE)
    assert not run(bare[0], odd)[1].accepted


def test_gap_is_marked():
    (verdict,) = run(replace(reading(import_kwh="1"), after_gap="unplugged"))
    assert "after_gap" in verdict.flags


def test_restart_goes_on_from_the_last_accepted_reading():
    memory = Memory.after(reading(0, import_kwh="100"))
    verdict, _ = judge(reading(60, import_kwh="99"), memory, LIMITS)
    assert not verdict.accepted
    assert Memory.after(None) == Memory()


@pytest.mark.parametrize("end", ["99999", "999999", "9999999"])
def test_registers_of_five_six_or_seven_digits_roll_over(end: str):
    first = reading(0, import_kwh=f"{end}.95")
    verdict, _ = judge(reading(600, import_kwh="0.15"), judge(first, Memory(), LIMITS)[1], LIMITS)
    assert verdict.accepted
    assert verdict.rolled_over == {"import_kwh": Decimal(end) + 1}


def test_a_late_reading_must_lead_up_to_the_last_one():
    _, memory = judge(reading(0, import_kwh="100"), Memory(), LIMITS)
    _, memory = judge(reading(600, import_kwh="101"), memory, LIMITS)
    fits, after = judge(reading(300, import_kwh="100.4"), memory, LIMITS)
    assert fits.accepted
    assert "late" in fits.flags
    assert after == memory
    above, after = judge(reading(300, import_kwh="102"), memory, LIMITS)
    assert not above.accepted
    assert "register_back" in above.flags
    assert after == memory


def test_the_offset_of_the_meters_clock_needs_its_zone():
    at = reading(0, import_kwh="1").host_time
    aware = replace(
        reading(0, import_kwh="1"), meter_clock=(at + timedelta(seconds=75)).isoformat()
    )
    assert clock_offset_s(aware) == 75
    local = (at + timedelta(hours=8, minutes=20)).replace(tzinfo=None).isoformat()
    naive = replace(reading(0, import_kwh="1"), meter_clock=local)
    shanghai = timezone(timedelta(hours=8))
    assert clock_offset_s(naive, shanghai) == 1200
    assert judge(naive, Memory(), LIMITS)[0].flags == ("first",)
    there = replace(LIMITS, zone=shanghai)
    assert judge(naive, Memory(), there)[0].flags == ("clock_wrong", "first")
    assert clock_offset_s(replace(naive, meter_clock="never")) is None
