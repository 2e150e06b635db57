"""When what happens to a delivery slot, in market time.

Quoting for slot T of length L runs during the slot before it; readings and settlement follow in
the slot after it. With the default shares and R = 3 rounds:

| what                       | when                    |
| -------------------------- | ----------------------- |
| the slot opens             | T - L                   |
| round i closes             | T - L + i · 0.22 L      |
| the slot is cleared by     | T - L + 0.75 L          |
| delivery                   | T to T + L              |
| readings are due until     | T + L + 0.30 L          |
| the slot is settled        | T + L + 0.35 L          |

The trading centre acts by these times; wallets plan by them. Nothing in the contract depends on
them: it has no clock.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from light_node.market.slots import Slot, slot_at

_ONE = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Timetable:
    """Length and number of rounds of every slot, and shares of a slot's length in 1/1000.

    ``ValueError`` unless the times come in the order of the table above and a slot may be so long.
    """

    length_s: int = 900
    rounds: int = 3
    round_share: int = 220
    clear_share: int = 750
    reading_share: int = 300
    settle_share: int = 350

    def __post_init__(self) -> None:
        Slot(0, self.length_s)
        if not 1 <= self.rounds <= 9:
            raise ValueError("a slot has 1 to 9 rounds")
        if not 0 < self.rounds * self.round_share <= self.clear_share <= _ONE:
            raise ValueError("the rounds must end before the clearing, and that before delivery")
        if not 0 < self.reading_share <= self.settle_share:
            raise ValueError("readings must be due before the settlement")

    def opens(self, slot: Slot) -> datetime:
        """Return when the slot opens for quotes: one length before delivery."""
        return self._at(slot, -1, 0)

    def round_closes(self, slot: Slot, number: int) -> datetime:
        """Return when round ``number`` (from 1) of the slot closes."""
        if not 1 <= number <= self.rounds:
            raise ValueError(f"round {number} is not one of {self.rounds}")
        return self._at(slot, -1, number * self.round_share)

    def gate_closes(self, slot: Slot) -> datetime:
        """Return when the last round closes: no quote counts after it."""
        return self.round_closes(slot, self.rounds)

    def clears(self, slot: Slot) -> datetime:
        """Return by when the slot is cleared."""
        return self._at(slot, -1, self.clear_share)

    def readings_due(self, slot: Slot) -> datetime:
        """Return until when readings of the slot are taken."""
        return self._at(slot, 1, self.reading_share)

    def settles(self, slot: Slot) -> datetime:
        """Return when the slot is settled."""
        return self._at(slot, 1, self.settle_share)

    def round_at(self, slot: Slot, now: datetime) -> int:
        """Return the round open at ``now``: 0 before the first, ``rounds`` + 1 after the last."""
        if now < self.opens(slot):
            return 0
        for number in range(1, self.rounds + 1):
            if now < self.round_closes(slot, number):
                return number
        return self.rounds + 1

    def delivering(self, now: datetime) -> Slot:
        """Return the slot being delivered at ``now``."""
        return slot_at((now - _EPOCH) // timedelta(seconds=1), self.length_s)

    def quoting(self, now: datetime) -> Slot:
        """Return the slot whose quoting falls into ``now``: the one after the delivering slot."""
        return self.delivering(now).next

    def next_to_open(self, now: datetime) -> Slot:
        """Return the first slot whose round 1 is not over at ``now``."""
        slot = self.quoting(now)
        return slot if now < self.round_closes(slot, 1) else slot.next

    def between(self, start: datetime, end: datetime) -> Iterator[Slot]:
        """Yield the slots that start in [``start``, ``end``), ascending."""
        slot = self.delivering(start)
        if slot.starts_at < start:
            slot = slot.next
        while slot.starts_at < end:
            yield slot
            slot = slot.next

    def _at(self, slot: Slot, lengths: int, share: int) -> datetime:
        length = timedelta(seconds=slot.length_s)
        return slot.starts_at + lengths * length + share * length / _ONE
