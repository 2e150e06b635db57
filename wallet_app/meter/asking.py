"""Questions and answers in the order of a poll, and what one poll brought together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from wallet_app.meter.channel import Channel, Exchange
from wallet_app.meter.events import Frame, Proof

REFUSED_FOR_S = 86_400.0
"""A value the meter says it has not is not asked for again for a day."""


@dataclass(slots=True)
class Collected:
    """What one poll brought: values by common name, the raw frames, when the first came."""

    meter_id: str = ""
    values: dict[str, Decimal] = field(default_factory=dict)
    raw: bytes = b""
    proof: Proof = Proof.NONE
    at: tuple[datetime, float] | None = None
    meter_clock: str = ""

    def add(self, frame: Frame, channel: Channel) -> None:
        """Take the values of ``frame``, which just arrived."""
        if self.at is None:
            self.at = (channel.clock.now(), channel.clock.monotonic())
        self.values.update(frame.normalized)
        self.raw += frame.raw
        self.proof = frame.proof
        self.meter_id = frame.meter_id or self.meter_id
        self.meter_clock = frame.texts.get("clock", self.meter_clock)


_NEVER = ("no such data", "no such object", "no such register", "refused")


class Asking:
    """A dialogue of questions and answers; what the meter refuses is left out for a day."""

    listens = False

    def __init__(self) -> None:
        self._refused: dict[str, float] = {}

    def _run(self, channel: Channel, questions: Sequence[Exchange]) -> Collected | None:
        collected = Collected()
        for question in questions:
            if channel.stop.is_set():
                return None
            now = channel.clock.monotonic()
            if now < self._refused.get(question.key, float("-inf")):
                continue
            frame = self._ask(channel, question)
            if frame is None and question.essential:
                return None
            if frame is not None and frame.kind == "data":
                collected.add(frame, channel)
            elif frame is not None and refused_for_good(frame):
                self._refused[question.key] = now + REFUSED_FOR_S
            channel.stop.wait(channel.timing.between_s)
        return collected if collected.at is not None or self._refused else None

    def _ask(self, channel: Channel, question: Exchange) -> Frame | None:
        return channel.ask(question)


def refused_for_good(frame: Frame) -> bool:
    """Say whether the meter refused for good, and not because it is busy."""
    return frame.details.get("error") in _NEVER
