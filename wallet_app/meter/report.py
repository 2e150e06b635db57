"""Tests a meter for a while and reports: identity, values, timing, error rates.

For the field tester: run it on any port, keep the table. Nothing here judges the meter's accuracy;
it says what was read and how reliably.
"""

import csv
import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from statistics import mean
from typing import Any

from light_node.clock import Clock
from wallet_app.meter.dialogue import PROTOCOLS, Options
from wallet_app.meter.events import Reading, plain
from wallet_app.meter.ports import Link, PortFactory, open_port
from wallet_app.meter.session import MeterSession, MeterStatus, Timing

_COLUMNS = ("host_time", "meter_id", "proof", "origin", "meter_clock", "after_gap", "problems")


@dataclass(slots=True)
class Report:
    """What a test brought; times are this machine's."""

    port: str
    protocol: str
    started: datetime
    readings: list[Reading] = field(default_factory=list)
    status: MeterStatus | None = None
    stopped_early: bool = False

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

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        status, intervals = self.status, self.intervals_s()
        last = self.readings[-1] if self.readings else None
        return {
            "port": self.port,
            "protocol": self.protocol,
            "started": self.started.isoformat(),
            "meter_ids": self.meter_ids,
            "readings": len(self.readings),
            "gaps": sum(bool(reading.after_gap) for reading in self.readings),
            "good_frames": status.good_frames if status else 0,
            "bad_frames": status.bad_frames if status else 0,
            "damaged_percent": round(100 * self.damaged_share, 2),
            "interval_s": _spread(intervals),
            "values": {key: plain(value) for key, value in last.values.items()} if last else {},
            "ranges": self._ranges(),
            "proof": str(last.proof) if last else "",
            "origin": str(last.origin) if last else "",
            "meter_clock": last.meter_clock if last else "",
            "state": status.state if status else "",
            "advice": self.advice(),
        }

    def advice(self) -> str:
        """Return one line: what is wrong, if anything, and what to do."""
        if not self.readings:
            return self.status.text if self.status else "nothing was read"
        if self.damaged_share > 0.2:
            return "every fifth frame is damaged: wrong speed, or a second program on the line"
        if self.damaged_share > 0.01:
            return "frames are damaged now and then: shorten the cable or move the head"
        if len(self.meter_ids) > 1:
            return "more than one meter answered: give the number of the right one"
        return "no fault found on the line"

    def to_csv(self) -> str:
        """Return one row per reading, all values in columns of their own."""
        keys = sorted({key for reading in self.readings for key in reading.values})
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_COLUMNS, *keys, "raw_hex"])
        for reading in self.readings:
            head = [
                reading.host_time.isoformat(),
                reading.meter_id,
                str(reading.proof),
                str(reading.origin),
                reading.meter_clock,
                reading.after_gap,
                " ".join(reading.problems),
            ]
            values = [plain(reading.values[k]) if k in reading.values else "" for k in keys]
            writer.writerow([*(_cell(part) for part in head), *values, reading.raw.hex()])
        return text.getvalue()

    def _ranges(self) -> dict[str, list[str]]:
        found: dict[str, list[Decimal]] = {}
        for reading in self.readings:
            for key, value in reading.values.items():
                found.setdefault(key, []).append(value)
        return {key: [plain(min(all_)), plain(max(all_))] for key, all_ in sorted(found.items())}


def run(
    port: str,
    protocol: str,
    options: Options,
    *,
    clock: Clock,
    count: int,
    timeout_s: float,
    interval_s: float = 1.0,
    link: Link | None = None,
    tap: Callable[[bool, bytes], None] | None = None,
    port_factory: PortFactory = open_port,
    timing: Timing | None = None,
) -> Report:
    """Read ``count`` times (or until ``timeout_s``) and report; ``ValueError`` for bad options."""
    report = Report(port, PROTOCOLS.get(protocol, protocol), clock.now())
    done = threading.Event()

    def on_reading(reading: Reading) -> None:
        if len(report.readings) < count:
            report.readings.append(reading)
        if len(report.readings) >= count:
            done.set()

    def on_status(status: MeterStatus) -> None:
        report.status = status

    session = MeterSession(
        port,
        protocol=protocol,
        address=options.address,
        interval_s=interval_s,
        clock=clock,
        on_reading=on_reading,
        on_status=on_status,
        link=link,
        options=options,
        port_factory=port_factory,
        timing=timing,
        tap=tap,
    )
    session.start()
    try:
        report.stopped_early = not done.wait(timeout_s)
    finally:
        session.stop()
    report.status = session.status
    return report


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
