"""What the trading centre has to do next for a slot: a pure function of the ledger and the time.

Every step moves the slot record to its next phase, so the record alone says what comes next; a
trading centre that was killed at any instruction goes on where the ledger stands:

| record          | step              | due                                   |
| --------------- | ----------------- | ------------------------------------- |
| none            | OpenSlot          | when the slot opens                   |
| quoting round i | CloseRound i      | when round i closes                   |
| closed round i  | PublishStanding i | at once                               |
| final           | ClearSlot         | at once, so before the clearing's time |
| cleared         | CloseDelivery     | when readings are due                 |
| settling        | SettleSlot        | when the slot is settled              |
| settled         | nothing           |                                       |
"""

from dataclasses import dataclass
from datetime import datetime

from light_node.contract.slots import Phase, SlotRecord
from light_node.market.slots import Slot
from light_node.mtc.timetable import Timetable


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction to submit for ``slot`` at market time ``due`` or later.

    ``round`` is 0 where the function takes none.
    """

    due: datetime
    slot: Slot
    function: str
    round: int = 0

    @property
    def arguments(self) -> tuple[str, ...]:
        """The contract function's arguments; OpenSlot's depend on the tariff and are not here."""
        return (self.slot.id, str(self.round)) if self.round else (self.slot.id,)

    def __str__(self) -> str:
        return f"{self.function} {' '.join(self.arguments)}"


def opening(timetable: Timetable, slot: Slot, now: datetime) -> Step | None:
    """Return the step that opens a slot the ledger does not hold; None once it is too late.

    A slot whose first round would be over before anybody could quote is left out: its energy goes
    through the grid.
    """
    if now >= timetable.round_closes(slot, 1):
        return None
    return Step(timetable.opens(slot), slot, "OpenSlot")


def following(timetable: Timetable, record: SlotRecord) -> Step | None:
    """Return the step after the record's phase; None when the slot is settled."""
    slot = record.interval
    opens = timetable.opens(slot)
    match record.phase:
        case Phase.QUOTING:
            # A slot opened under another timetable may have more rounds than ours knows.
            number = min(record.round, timetable.rounds)
            return Step(timetable.round_closes(slot, number), slot, "CloseRound", record.round)
        case Phase.CLOSED:
            return Step(opens, slot, "PublishStanding", record.round)
        case Phase.FINAL:
            return Step(opens, slot, "ClearSlot")
        case Phase.CLEARED:
            return Step(timetable.readings_due(slot), slot, "CloseDelivery")
        case Phase.SETTLING:
            return Step(timetable.settles(slot), slot, "SettleSlot")
        case Phase.SETTLED:
            return None


def urgency(step: Step) -> tuple[bool, datetime, int]:
    """Return a key that sorts steps by what must not wait.

    Quoting comes before delivery and settlement: a round that closes late takes time from the
    participants' next one, while nobody waits for a settlement.
    """
    return step.function in ("CloseDelivery", "SettleSlot"), step.due, step.slot.start
