"""What stored energy will be worth: a linear program over the next day's tariffs and forecasts.

The battery is scheduled against the grid alone (a lower bound of what trading adds to it). The dual
value of the energy stored at the start of a slot says what one more Wh there would save; from it
comes the ``stored_value`` of :class:`~wallet_app.strategy.reservation.PhysicalModel`.

Per slot, energies in Wh at the battery's terminals, net = load − generation:

    net + charge − discharge = import − export
    stored(next) = stored + √η·charge − discharge/√η,  kept between reserve and capacity
    minimize  Σ retail·import − feed_in·export + wear·discharge − final_value·stored(end)

Solved with HiGHS. Charging is limited to surplus and discharging to deficit unless the user allows
more. Floats live only in here; results are integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import highspy
import numpy as np

from light_node.market.quotes import PriceBounds
from light_node.market.slots import Slot
from light_node.market.units import EnergyWh, MoneyWhTick, PriceTick
from wallet_app.strategy.battery import PERMILLE, Battery, BatteryState

_HOUR_S = 3600
_VARIABLES = 5  # charge, discharge, import, export, stored at the end of the slot


class LookAheadError(ValueError):
    """The look-ahead cannot be made; the message says what is missing."""


class PlannedSlot(NamedTuple):
    """A coming slot: its forecast net energy in Wh (positive = deficit) and its grid tariffs."""

    slot: Slot
    net_wh: int
    tariff: PriceBounds  # feed-in and retail


@dataclass(frozen=True, slots=True)
class LookAhead:
    """The schedule and what it says of stored energy.

    ``stored_value`` is what a Wh delivered from the battery after the first slot will be worth,
    wear included, in ticks. ``charge`` and ``discharge`` are Wh per slot at the terminals,
    ``cost`` the grid bill of the schedule with wear (without the value of what is left).
    """

    stored_value: PriceTick
    charge: tuple[EnergyWh, ...]
    discharge: tuple[EnergyWh, ...]
    cost: MoneyWhTick


def slots_with_tariff(
    slots: Sequence[Slot], nets: Mapping[Slot, int], tariffs: Mapping[Slot, PriceBounds]
) -> list[PlannedSlot]:
    """Return ``slots`` with forecast and tariff; :class:`LookAheadError` names what is missing.

    Slots follow each other in UTC, so days of 23 and 25 hours are just shorter and longer lists.
    """
    for what, known in (("tariff", tariffs), ("forecast", nets)):
        missing = [slot.id for slot in slots if slot not in known]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise LookAheadError(f"no {what} for {missing[0]}{more}; complete the {what}")
    return [PlannedSlot(slot, nets[slot], tariffs[slot]) for slot in slots]


def look_ahead(
    slots: Sequence[PlannedSlot],
    battery: Battery,
    state: BatteryState,
    final_value: PriceTick | None = None,
) -> LookAhead:
    """Return the cheapest schedule of ``battery`` over consecutive ``slots``.

    ``final_value`` is what a stored Wh is worth after the last slot, in ticks; by default the mean
    of feed-in and retail there, so that the day does not end with a battery sold out.
    :class:`LookAheadError` for no slots or a gap between them.
    """
    if not slots:
        raise LookAheadError("the look-ahead needs at least one slot")
    for before, after in pairwise(slots):
        if after.slot.start != before.slot.end:
            raise LookAheadError(f"slots are missing between {before.slot} and {after.slot}")
    last = slots[-1].tariff
    worth = (last.floor + last.cap) // 2 if final_value is None else final_value
    one_way = battery.one_way_permille / PERMILLE
    program = _program(slots, battery, state, worth, one_way)
    values, duals = _solved(program)
    table = np.array(values).reshape(len(slots), _VARIABLES)
    # Rows alternate: balance, storage. One more stored Wh at the start of slot 1 lowers the bill by
    # the negative dual of its storage row.
    marginal = -duals[3] if len(slots) > 1 else float(worth)
    charge, discharge = table[:, 0], table[:, 1]
    bill = program.col_cost_ @ np.array(values) + worth * table[-1, 4]
    return LookAhead(
        PriceTick(round(marginal / one_way + battery.cycle_cost)),
        tuple(EnergyWh(round(x)) for x in charge.tolist()),
        tuple(EnergyWh(round(x)) for x in discharge.tolist()),
        MoneyWhTick(round(float(bill))),
    )


def _program(
    slots: Sequence[PlannedSlot],
    battery: Battery,
    state: BatteryState,
    worth: int,
    one_way: float,
) -> highspy.HighsLp:
    count = len(slots)
    cost = np.zeros((count, _VARIABLES))
    upper = np.full((count, _VARIABLES), highspy.kHighsInf)
    lower = np.zeros((count, _VARIABLES))
    rows = np.zeros((count, 2))
    for t, (slot, net, tariff) in enumerate(slots):
        surplus, deficit = max(-net, 0), max(net, 0)
        cost[t] = (0, battery.cycle_cost, tariff.cap, -tariff.floor, 0)
        upper[t, 0] = _limit(battery.max_charge_w, slot, battery.may_charge_from_grid, surplus)
        upper[t, 1] = _limit(battery.max_discharge_w, slot, battery.may_discharge_to_sell, deficit)
        # Importing and exporting at once would be free money were feed-in above retail; never is.
        upper[t, 2] = deficit + (upper[t, 0] if battery.may_charge_from_grid else 0)
        rows[t, 0] = -net
    stored = min(state.energy_wh, battery.capacity_wh)
    lower[:, 4] = min(stored, battery.reserve_wh)
    upper[:, 4] = battery.capacity_wh
    cost[-1, 4] = -worth
    rows[0, 1] = stored
    return _assemble(cost, lower, upper, rows, one_way)


def _assemble(
    cost: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
    lower: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
    upper: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
    rows: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
    one_way: float,
) -> highspy.HighsLp:
    """Return the program: balance rows (c − d − i + x = −net) and storage rows, interleaved."""
    count = len(cost)
    start, index, value = [0], [], []
    for t in range(count):
        for entries in (
            ((2 * t, 1.0), (2 * t + 1, -one_way)),
            ((2 * t, -1.0), (2 * t + 1, 1 / one_way)),
            ((2 * t, -1.0),),
            ((2 * t, 1.0),),
            ((2 * t + 1, 1.0), *(((2 * t + 3, -1.0),) if t + 1 < count else ())),
        ):
            index += [row for row, _ in entries]
            value += [coefficient for _, coefficient in entries]
            start.append(len(index))
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = cost.size, rows.size
    program.col_cost_ = cost.ravel()
    program.col_lower_, program.col_upper_ = lower.ravel(), upper.ravel()
    program.row_lower_ = program.row_upper_ = rows.ravel()
    program.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    program.a_matrix_.start_ = np.array(start)
    program.a_matrix_.index_ = np.array(index)
    program.a_matrix_.value_ = np.array(value)
    return program


def _limit(power_w: int | None, slot: Slot, free: bool, energy: int) -> float:
    """Return the most energy a slot may move: by power, and by surplus or deficit unless free."""
    limit = highspy.kHighsInf if power_w is None else power_w * slot.length_s / _HOUR_S
    return limit if free else min(limit, energy)


def _solved(program: highspy.HighsLp) -> tuple[Sequence[float], Sequence[float]]:
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.passModel(program)
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise LookAheadError(
            "the battery's schedule has no best solution; check that every feed-in tariff is at "
            "most the retail tariff and the battery's limits are finite"
        )
    solution = solver.getSolution()
    return solution.col_value, solution.row_dual
