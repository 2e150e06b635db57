"""Decides whether a reading may count, against those before (docs/meter-protocols.md 15).

Pure: a reading and a memory go in, a verdict and the next memory come out. Nothing is repaired;
a reading that cannot be true is rejected with its reasons, and is stored all the same.

Flags that reject: ``register_back``, ``too_much_energy``, ``tariff_sum``, ``replay``, ``unproven``.
Flags that only mark: ``first``, ``new_meter``, ``rolled_over``, ``after_gap``, ``stuck``,
``phase_sum``, ``power_energy``, ``voltage``, ``frequency``, ``clock_off``, ``clock_wrong``,
``clock_invalid``, ``clock_jump``, ``late``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from decimal import Decimal
from itertools import pairwise

from wallet_app.i18n import tr
from wallet_app.meter.events import Proof, Reading

REGISTERS = ("import_kwh", "export_kwh")
_REJECTED_BEFORE_ASKING = 3
_VOLTS = (Decimal(80), Decimal(300))
_HERTZ = (Decimal(45), Decimal(65))
_CLOCK_OFF_S, _CLOCK_WRONG_S = 120, 900


@dataclass(frozen=True, slots=True)
class Limits:
    """What the connection and the meter can do.

    ``max_power_w``: phases × fuse × 230 V. ``register_step_kwh``: the last digit of the registers,
    ``register_end_kwh``: where they start again at 0. ``rate``: how much faster than this
    machine's clock the metered time runs (1 but on an accelerated devnet). ``zone``: where the
    meter lives, for clocks that name no zone.
    """

    max_power_w: int = 3 * 63 * 230
    register_step_kwh: Decimal = Decimal("0.01")
    register_end_kwh: Decimal = Decimal(1_000_000)
    rate: int = 1
    zone: tzinfo | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the reading counts, why, and which of its values may be used.

    ``rolled_over`` has what to add to a register that started again at 0; ``ask`` a question for
    the user, "" when there is none; ``new_series`` says that no difference to earlier readings of
    this meter may be taken.
    """

    accepted: bool
    flags: tuple[str, ...] = ()
    values: Mapping[str, Decimal] = field(default_factory=dict)
    rolled_over: Mapping[str, Decimal] = field(default_factory=dict)
    ask: str = ""
    new_series: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What :func:`judge` needs to know of the readings before; start with ``Memory()``.

    ``last`` is the last accepted reading; ``registers`` the last accepted value of each register
    with its reading; ``rejected`` what was rejected since; ``standing_wh`` the energy that power
    says has flowed since the registers last moved; ``unproven`` a telegram without checksum that
    waits for a second one like it.
    """

    last: Reading | None = None
    registers: Mapping[str, tuple[Decimal, Reading]] = field(default_factory=dict)
    rejected: tuple[Reading, ...] = ()
    standing_wh: Decimal = Decimal(0)
    unproven: Reading | None = None

    @classmethod
    def after(cls, reading: Reading | None) -> "Memory":
        """Return the memory after a restart, from the last accepted reading in the store."""
        if reading is None:
            return cls()
        return cls(last=reading, registers=_registers(reading))


def judge(reading: Reading, memory: Memory, limits: Limits) -> tuple[Verdict, Memory]:
    """Return the verdict on ``reading`` and the memory for the next one."""
    values, flags = _usable(reading)
    flags += _clock_flags(reading, limits)
    flags += [flag for flag in ("clock_jump",) if flag in reading.problems]
    if reading.after_gap:
        flags.append("after_gap")
    if reading.proof is Proof.NONE and not _confirmed(reading, memory.unproven, limits):
        verdict = Verdict(False, (*flags, "unproven"), values)
        return verdict, replace(memory, unproven=reading)
    if memory.last is None:
        return _accept(reading, memory, Verdict(True, (*flags, "first"), values))
    if reading.meter_id != memory.last.meter_id:
        ask = tr(
            "the meter now says its number is {number}: was it exchanged?", number=reading.meter_id
        )
        return _accept(reading, Memory(), Verdict(True, (*flags, "new_meter"), values, ask=ask))
    if reading.host_time < memory.last.host_time and "clock_jump" not in reading.problems:
        return _judge_late(reading, memory, limits, values, flags)
    wrong, rolled = _register_flags(reading, memory.registers, limits)
    if not _tariffs_fit(values, limits):
        wrong.append("tariff_sum")
    if "register_back" in wrong and _clock_behind(reading, memory.last):
        wrong.append("replay")
    if wrong:
        return _reject(reading, memory, (*flags, *wrong), values, limits)
    if rolled:
        flags.append("rolled_over")
    standing = _standing(reading, memory, limits)
    if standing > 3 * 1000 * limits.register_step_kwh:
        flags.append("stuck")
    if _power_far_from_energy(reading, memory, limits):
        flags.append("power_energy")
    verdict = Verdict(True, tuple(flags), values, rolled)
    return _accept(reading, replace(memory, standing_wh=standing), verdict)


def _judge_late(
    reading: Reading,
    memory: Memory,
    limits: Limits,
    values: Mapping[str, Decimal],
    flags: list[str],
) -> tuple[Verdict, Memory]:
    """Judge a reading that is older than the last one: it must lead up to that one.

    It never becomes the base of the next difference, and nothing is asked because of it.
    """
    wrong = []
    for key, (now, later) in memory.registers.items():
        before = reading.values.get(key)
        if before is None:
            continue
        hours = _seconds(later, reading) * limits.rate / 3600
        allowed = limits.max_power_w * hours / 1000 * Decimal("1.05") + limits.register_step_kwh
        if before > now:
            wrong.append("register_back")
        elif now - before > allowed:
            wrong.append("too_much_energy")
    if not _tariffs_fit(values, limits):
        wrong.append("tariff_sum")
    marks = (*flags, "late", *dict.fromkeys(wrong))
    return Verdict(not wrong, marks, values), memory


def rebase(reading: Reading, memory: Memory) -> tuple[Verdict, Memory]:
    """Accept ``reading`` as a new start because the user says the meter was reset."""
    values, flags = _usable(reading)
    verdict = Verdict(True, (*flags, "first"), values, new_series=True)
    return _accept(reading, replace(memory, registers={}), verdict)


def _accept(reading: Reading, memory: Memory, verdict: Verdict) -> tuple[Verdict, Memory]:
    registers = {**memory.registers, **_registers(reading)}
    return verdict, Memory(reading, registers, (), memory.standing_wh, None)


def _reject(
    reading: Reading,
    memory: Memory,
    flags: tuple[str, ...],
    values: Mapping[str, Decimal],
    limits: Limits,
) -> tuple[Verdict, Memory]:
    rejected = (*memory.rejected, reading)[-_REJECTED_BEFORE_ASKING:]
    ask = ""
    if len(rejected) == _REJECTED_BEFORE_ASKING and _agree(rejected, limits):
        ask = tr(
            "three readings in a row do not fit the ones before: was the meter reset or exchanged?"
        )
    return Verdict(False, flags, values, ask=ask), replace(memory, rejected=rejected)


def _agree(readings: tuple[Reading, ...], limits: Limits) -> bool:
    """Say whether each reading would be possible after the one before it."""
    return all(
        later.meter_id == earlier.meter_id
        and not _register_flags(later, _registers(earlier), limits)[0]
        for earlier, later in pairwise(readings)
    )


def _confirmed(reading: Reading, earlier: Reading | None, limits: Limits) -> bool:
    """Say whether a telegram without checksum looks like the one before it."""
    if earlier is None or earlier.meter_id != reading.meter_id:
        return False
    if set(earlier.values) != set(reading.values):
        return False
    return not _register_flags(reading, _registers(earlier), limits)[0]


def _registers(reading: Reading) -> dict[str, tuple[Decimal, Reading]]:
    return {k: (reading.values[k], reading) for k in REGISTERS if k in reading.values}


def _seconds(later: Reading, earlier: Reading) -> Decimal:
    """Return the host seconds between two readings, never negative."""
    if "clock_jump" in later.problems:
        span = later.monotonic - earlier.monotonic
    else:
        span = (later.host_time - earlier.host_time).total_seconds()
    return max(Decimal(str(span)), Decimal(0))


def _register_flags(
    reading: Reading, registers: Mapping[str, tuple[Decimal, Reading]], limits: Limits
) -> tuple[list[str], dict[str, Decimal]]:
    """Return the flags that reject, and what to add to registers that rolled over."""
    flags, rolled = [], {}
    for key, (before, earlier) in registers.items():
        now = reading.values.get(key)
        if now is None:
            continue
        hours = _seconds(reading, earlier) * limits.rate / 3600
        allowed = limits.max_power_w * hours / 1000 * Decimal("1.05") + limits.register_step_kwh
        if now < before:
            end = _end_behind(before, now, allowed, limits)
            if end is None:
                flags.append("register_back")
                continue
            rolled[key] = end
        if now + rolled.get(key, Decimal(0)) - before > allowed:
            flags.append("too_much_energy")
    return list(dict.fromkeys(flags)), rolled


def _end_behind(before: Decimal, now: Decimal, allowed: Decimal, limits: Limits) -> Decimal | None:
    """Return where a register that went from ``before`` to ``now`` started again at 0.

    The user's setting, or the full number of digits (meters have five, six or seven before the
    point). None if the step over that end is more energy than can have flowed.
    """
    digits = max(5, before.adjusted() + 1)
    for end in dict.fromkeys((limits.register_end_kwh, Decimal(10) ** digits)):
        if before >= end * Decimal("0.99") and 0 <= now + end - before <= allowed:
            return end
    return None


def _tariffs_fit(values: Mapping[str, Decimal], limits: Limits) -> bool:
    tariffs = [key for key in values if key.startswith(("import_t", "export_t"))]
    for direction in ("import", "export") if tariffs else ():
        total = values.get(f"{direction}_kwh")
        parts = [v for k, v in values.items() if k.startswith(f"{direction}_t")]
        tolerance = 2 * limits.register_step_kwh * len(parts)
        if total is not None and parts and abs(total - sum(parts)) > tolerance:
            return False
    return True


def _usable(reading: Reading) -> tuple[dict[str, Decimal], list[str]]:
    """Return the values without impossible volts and hertz, and a flag for each kind dropped."""
    values, flags = dict(reading.values), []
    for key in list(values):
        if key.startswith("voltage_") and values[key] and not _within(values[key], _VOLTS):
            del values[key]
            flags.append("voltage")
        elif key == "frequency_hz" and not _within(values[key], _HERTZ):
            del values[key]
            flags.append("frequency")
    phases = [values.get(f"power_l{n}_w") for n in (1, 2, 3)]
    total = values.get("power_w")
    if total is not None and None not in phases:
        apart = abs(sum(p for p in phases if p is not None) - total)
        if apart > max(Decimal(50), abs(total) / 20):
            flags.append("phase_sum")
    return values, list(dict.fromkeys(flags))


def _within(value: Decimal, bounds: tuple[Decimal, Decimal]) -> bool:
    return bounds[0] <= value <= bounds[1]


def _clock(reading: Reading) -> datetime | None:
    try:
        return datetime.fromisoformat(reading.meter_clock)
    except ValueError:
        return None


def clock_offset_s(reading: Reading, zone: tzinfo | None = None) -> float | None:
    """Return by how many seconds the meter's clock is ahead of this machine's (negative: behind).

    None if the meter gave no (possible) time. A meter that names no zone is taken to live in
    ``zone``, by default this machine's.
    """
    clock = _clock(reading)
    if clock is None:
        return None
    if clock.tzinfo is None:
        clock = clock.astimezone() if zone is None else clock.replace(tzinfo=zone)
    return (clock - reading.host_time).total_seconds()


def _clock_flags(reading: Reading, limits: Limits) -> list[str]:
    if not reading.meter_clock or limits.rate != 1:
        return []
    clock = _clock(reading)
    if clock is None:
        return ["clock_invalid"]
    if clock.tzinfo is None and limits.zone is None:
        return []  # neither the meter nor the user says which zone it lives in
    skew = abs(clock_offset_s(reading, limits.zone) or 0.0)
    if skew > _CLOCK_WRONG_S:
        return ["clock_wrong"]
    return ["clock_off"] if skew > _CLOCK_OFF_S else []


def _clock_behind(reading: Reading, last: Reading) -> bool:
    now, before = _clock(reading), _clock(last)
    if now is None or before is None or (now.tzinfo is None) != (before.tzinfo is None):
        return False
    return now < before


def _standing(reading: Reading, memory: Memory, limits: Limits) -> Decimal:
    """Return how much energy power says has flowed since the register of its direction moved."""
    power, last = reading.power_w, memory.last
    before = last.power_w if last else None
    if last is None or not power or not before or (power > 0) != (before > 0):
        return Decimal(0)
    key = "import_kwh" if power > 0 else "export_kwh"
    known = memory.registers.get(key)
    if known is None or key not in reading.values or reading.values[key] != known[0]:
        return Decimal(0)
    hours = _seconds(reading, last) * limits.rate / 3600
    return memory.standing_wh + min(abs(power), abs(before)) * hours


def _power_far_from_energy(reading: Reading, memory: Memory, limits: Limits) -> bool:
    """Compare mean power with the registers over ten minutes to an hour, in a wide band."""
    last = memory.last
    if last is None or reading.power_w is None or last.power_w is None:
        return False
    seconds = _seconds(reading, last) * limits.rate
    if not 600 <= seconds <= 3600:
        return False
    moved = Decimal(0)
    for key, sign in (("import_kwh", 1), ("export_kwh", -1)):
        if key in reading.values and key in last.values:
            moved += sign * (reading.values[key] - last.values[key])
    mean = moved * 1000 * 3600 / seconds
    return abs(mean - (reading.power_w + last.power_w) / 2) > limits.max_power_w / 2
