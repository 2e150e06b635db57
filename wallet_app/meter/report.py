"""Tests a meter for a while and reports: identity, values, timing, error rates, raw log.

For the field tester: run it on any port, keep the table or the document. Nothing here judges the
meter's accuracy; it says what was read and how reliably.
"""

import csv
import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from statistics import mean
from typing import Any

from light_node.clock import Clock
from wallet_app.i18n import tr
from wallet_app.meter.dialogue import PROTOCOLS, Options
from wallet_app.meter.events import Reading, plain
from wallet_app.meter.plausibility import Limits, Memory, Verdict, clock_offset_s, judge
from wallet_app.meter.ports import Link, PortFactory, PortInfo, open_port, ports
from wallet_app.meter.rawlog import RawLog, Turn
from wallet_app.meter.session import MeterSession, MeterStatus, Timing

_COLUMNS = (
    "host_time",
    "meter_id",
    "proof",
    "origin",
    "meter_clock",
    "clock_offset_s",
    "after_gap",
    "problems",
    "flags",
)


@dataclass(slots=True)
class Report:
    """What a test brought; times are this machine's.

    ``states`` are the changes of the session's state with their times; ``turns`` the newest part
    of the raw log, ``turns_dropped`` counts what went before. ``several`` says that more than one
    meter was asked on this line.
    """

    port: str
    protocol: str
    started: datetime
    readings: list[Reading] = field(default_factory=list)
    status: MeterStatus | None = None
    stopped_early: bool = False
    adapter: str = ""
    ended: datetime | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    states: list[tuple[datetime, MeterStatus]] = field(default_factory=list)
    turns: tuple[Turn, ...] = ()
    turns_dropped: int = 0
    several: bool = False

    def meters(self) -> list["Report"]:
        """Return a report for each meter that was asked on the line; counts stay the line's."""
        if not self.several or len(self.meter_ids) < 2:
            return [self]
        parts = []
        for number in self.meter_ids:
            mine = [i for i, reading in enumerate(self.readings) if reading.meter_id == number]
            readings = [self.readings[i] for i in mine]
            verdicts = [self.verdicts[i] for i in mine if i < len(self.verdicts)]
            parts.append(replace(self, readings=readings, verdicts=verdicts, several=False))
        return parts

    @property
    def meter_ids(self) -> list[str]:
        """Return the numbers of the meters heard, in order."""
        return list(dict.fromkeys(reading.meter_id for reading in self.readings))

    @property
    def damaged_share(self) -> float:
        """Return damaged frames as a share of all."""
        if self.status is None:
            return 0.0
        total = self.status.good_frames + self.status.bad_frames
        return self.status.bad_frames / total if total else 0.0

    def intervals_s(self) -> list[float]:
        """Return the seconds between readings."""
        times = [reading.monotonic for reading in self.readings]
        return [later - earlier for earlier, later in pairwise(times)]

    def replies_s(self) -> list[float]:
        """Return the seconds from the end of each request to the first byte of what followed."""
        return [
            later.at - earlier.until
            for earlier, later in pairwise(self.turns)
            if earlier.sent and not later.sent
        ]

    def clocked(self) -> Reading | None:
        """Return the last reading that came with the meter's clock."""
        return next((r for r in reversed(self.readings) if r.meter_clock), None)

    def flags(self) -> dict[str, int]:
        """Return how often each flag of the plausibility rules was set."""
        return dict(Counter(flag for verdict in self.verdicts for flag in verdict.flags))

    def rejected(self) -> int:
        """Return how many readings the plausibility rules set aside."""
        return sum(not verdict.accepted for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        status, last = self.status, self.readings[-1] if self.readings else None
        clocked = self.clocked()
        offset = clock_offset_s(clocked) if clocked else None
        return {
            "port": self.port,
            "adapter": self.adapter,
            "protocol": self.protocol,
            "link": status.link if status else "",
            "started": self.started.isoformat(),
            "ended": self.ended.isoformat() if self.ended else "",
            "meter_ids": self.meter_ids,
            "readings": len(self.readings),
            "rejected": self.rejected(),
            "gaps": sum(bool(reading.after_gap) for reading in self.readings),
            "polls": status.polls if status else 0,
            "missed_polls": status.missed if status else 0,
            "good_frames": status.good_frames if status else 0,
            "bad_frames": status.bad_frames if status else 0,
            "damaged_percent": round(100 * self.damaged_share, 2),
            "interval_s": _spread(self.intervals_s()),
            "reply_s": _spread(self.replies_s()),
            "values": {key: plain(value) for key, value in last.values.items()} if last else {},
            "ranges": {k: [plain(v) for v in pair] for k, pair in self.ranges().items()},
            "flags": self.flags(),
            "proof": str(last.proof) if last else "",
            "origin": str(last.origin) if last else "",
            "meter_clock": clocked.meter_clock if clocked else "",
            "clock_offset_s": "" if offset is None else round(offset, 1),
            "state": status.state if status else "",
            "advice": self.advice(),
        }

    def advice(self) -> str:
        """Return one line: what is wrong, if anything, and what to do."""
        if not self.readings:
            return self.status.text if self.status else tr("nothing was read")
        if self.damaged_share > 0.2:
            return tr("every fifth frame is damaged: wrong speed, or a second program on the line")
        if self.damaged_share > 0.01:
            return tr("frames are damaged now and then: shorten the cable or move the head")
        if len(self.meter_ids) > 1 and not self.several:
            return tr("more than one meter answered: give the number of the right one")
        if self.rejected():
            return tr("readings contradict each other: see the flags")
        return tr("no fault found on the line")

    def to_csv(self) -> str:
        """Return one row per reading, all values in columns of their own."""
        return table([self])

    def rows(self, keys: Sequence[str]) -> Iterator[tuple[list[str], list[str]]]:
        """Yield (what every reading has, the values of ``keys`` and the bytes) of each reading."""
        for index, reading in enumerate(self.readings):
            offset = clock_offset_s(reading)
            verdict = self.verdicts[index] if index < len(self.verdicts) else None
            head = [
                reading.host_time.isoformat(),
                reading.meter_id,
                str(reading.proof),
                str(reading.origin),
                reading.meter_clock,
                "" if offset is None else f"{offset:.1f}",
                reading.after_gap,
                " ".join(reading.problems),
                " ".join(verdict.flags) if verdict else "",
            ]
            values = [plain(reading.values[k]) if k in reading.values else "" for k in keys]
            cells = [part if index == 5 else _cell(part) for index, part in enumerate(head)]
            yield cells, [*values, reading.raw.hex()]

    def ranges(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Return the smallest and largest of every value."""
        found: dict[str, list[Decimal]] = {}
        for reading in self.readings:
            for key, value in reading.values.items():
                found.setdefault(key, []).append(value)
        return {key: (min(all_), max(all_)) for key, all_ in sorted(found.items())}


def table(reports: Sequence[Report]) -> str:
    """Return the readings of one or several lines as CSV; of several, with port and protocol."""
    keys = sorted({k for report in reports for reading in report.readings for k in reading.values})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    several = len(reports) > 1
    where = ("port", "protocol") if several else ()
    writer.writerow([*_COLUMNS, *where, *keys, "raw_hex"])
    for report in reports:
        place = [_cell(report.port), _cell(report.protocol)] if several else []
        for head, rest in report.rows(keys):
            writer.writerow([*head, *place, *rest])
    return text.getvalue()


class ReportBuilder:
    """Makes a report from what a running session says; for the window, which has one running.

    ``done`` is set, and ``on_done`` called, after ``count`` readings, of each meter where
    ``addresses`` names several with commas. Its methods are called from the session's thread.
    """

    def __init__(
        self,
        port: str,
        protocol: str,
        clock: Clock,
        count: int,
        *,
        adapter: str = "",
        limits: Limits | None = None,
        addresses: str | None = None,
    ) -> None:
        meters = len((addresses or "").split(","))
        name = PROTOCOLS.get(protocol, protocol)
        self.report = Report(port, name, clock.now(), adapter=adapter, several=meters > 1)
        self.done = threading.Event()
        self.on_done: Callable[[], None] = lambda: None
        self.log = RawLog(clock, most_turns=4000)
        self._clock, self.wanted = clock, count * meters
        self._limits = limits or Limits()
        self._memories: dict[str, Memory] = {}
        self._first: MeterStatus | None = None

    def take_reading(self, reading: Reading) -> None:
        """Add a reading, judged by the plausibility rules."""
        if self.done.is_set():
            return
        # On a line with one meter another number is worth a flag; with several each has its own.
        which = reading.meter_id if self.report.several else ""
        memory = self._memories.get(which, Memory())
        verdict, self._memories[which] = judge(reading, memory, self._limits)
        self.report.readings.append(reading)
        self.report.verdicts.append(verdict)
        if len(self.report.readings) >= self.wanted:
            self.report.ended = self._clock.now()
            self.done.set()
            self.on_done()

    def take_status(self, status: MeterStatus) -> None:
        """Note the session's state; what it counted before the test does not count."""
        if self._first is None:
            self._first = status
        states = self.report.states
        if not states or (states[-1][1].state, states[-1][1].text) != (status.state, status.text):
            states.append((self._clock.now(), status))
        self.report.status = status.since(self._first)

    def finish(self, status: MeterStatus | None = None) -> Report:
        """Return the report as it stands."""
        if status is not None:
            self.report.status = status.since(self._first) if self._first else status
        self.log.flush()
        self.report.turns, self.report.turns_dropped = self.log.turns(), self.log.dropped
        self.report.ended = self.report.ended or self._clock.now()
        self.report.stopped_early = not self.done.is_set()
        return self.report


@dataclass(frozen=True, slots=True)
class Place:
    """Where to test, and how to reach what is there."""

    port: str
    protocol: str
    options: Options = field(default_factory=Options)
    link: Link | None = None


def run(
    places: Sequence[Place],
    *,
    clock: Clock,
    count: int,
    timeout_s: float,
    interval_s: float = 1.0,
    tap: Callable[[bool, bytes], None] | None = None,
    port_factory: PortFactory = open_port,
    port_list: Callable[[], list[PortInfo]] = ports,
    timing: Timing | None = None,
) -> list[Report]:
    """Read every meter ``count`` times (or until ``timeout_s``), all lines at once; report each.

    ``ValueError`` for bad options.
    """
    running: list[tuple[ReportBuilder, MeterSession]] = []
    for place in places:
        builder = ReportBuilder(
            place.port,
            place.protocol,
            clock,
            count,
            adapter=adapter_name(place.port, port_list()),
            addresses=place.options.address,
        )
        session = MeterSession(
            place.port,
            protocol=place.protocol,
            address=place.options.address,
            interval_s=interval_s,
            clock=clock,
            on_reading=builder.take_reading,
            on_status=builder.take_status,
            link=place.link,
            options=place.options,
            port_factory=port_factory,
            port_list=port_list,
            timing=timing,
            tap=_both(builder.log, tap),
        )
        builder.take_status(session.status)
        builder.on_done = session.stop  # while the others go on
        running.append((builder, session))
    deadline = clock.monotonic() + timeout_s
    for _, session in running:
        session.start()
    try:
        for builder, _ in running:
            builder.done.wait(max(0.0, deadline - clock.monotonic()))
    finally:
        for _, session in running:
            session.stop()
    return [builder.finish(session.status) for builder, session in running]


def _both(log: RawLog, tap: Callable[[bool, bytes], None] | None) -> Callable[[bool, bytes], None]:
    def heard(sent: bool, data: bytes) -> None:
        log(sent, data)
        if tap is not None:
            tap(sent, data)

    return heard


def adapter_name(port: str, known: list[PortInfo]) -> str:
    """Return name and identity of the adapter behind ``port``, "" if it is not known."""
    here = next((info for info in known if info.device == port), None)
    return "" if here is None else " ".join(part for part in (here.name, here.identity) if part)


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    shortest, longest = min(values), max(values)
    return {
        "shortest": round(shortest, 3),
        "mean": round(mean(values), 3),
        "longest": round(longest, 3),
    }


def _cell(text: str) -> str:
    """Keep a spreadsheet from taking a meter's text for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
