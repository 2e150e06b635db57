"""All meters of this machine that are read at the moment, for a window or a command to show.

A *line* is one serial port (or one replayed capture) with what was read over it, its raw log, and,
if wanted, a capture to a file and a running test. One line may have several meters. Everything
here may be called from any thread; what blocks (opening, stopping, detecting) says so.
"""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from light_node.clock import Clock
from wallet_app.i18n import tr
from wallet_app.meter.capture import CaptureWriter, pieces
from wallet_app.meter.detect import Detection, Detector, Found
from wallet_app.meter.dialogue import PROTOCOLS, Options
from wallet_app.meter.events import Reading
from wallet_app.meter.plausibility import Limits, Memory, Verdict, clock_offset_s, judge, rebase
from wallet_app.meter.ports import Link, PortFactory, PortInfo, open_port, ports
from wallet_app.meter.rawlog import RawLog, Turn
from wallet_app.meter.replay import ReplaySession
from wallet_app.meter.report import Report, ReportBuilder, adapter_name
from wallet_app.meter.session import MeterSession, MeterStatus, Timing

_MOST_CAPTURE_BYTES = 64 * 1024 * 1024


class DeskError(Exception):
    """What was asked for cannot be done; the message says why and what to do."""


class Session(Protocol):
    """What a line needs of a session, live or replayed."""

    @property
    def status(self) -> MeterStatus:
        """Return the newest status."""
        ...

    def start(self) -> None:
        """Start the thread."""
        ...

    def stop(self) -> None:
        """End the thread and give the port back."""
        ...

    def request_now(self) -> None:
        """Poll at once."""
        ...


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a meter: all that is needed to open a session on it.

    ``link`` None tries the usual speeds; ``identity`` is the adapter's, "" if it is not known.
    """

    port: str
    protocol: str = "dlt645"
    options: Options = field(default_factory=Options)
    interval_s: float = 5.0
    link: Link | None = None
    identity: str = ""

    @classmethod
    def found(cls, port: str, found: Found, options: Options, interval_s: float) -> "Connection":
        """Return the connection to what a search found."""
        known = replace(
            options,
            address=found.address or options.address,
            profile=found.profile or options.profile,
            listen=found.listen,
            ask=found.ask,
        )
        return cls(port, found.protocol, known, interval_s, found.link)


@dataclass(frozen=True, slots=True)
class MeterView:
    """The newest of one meter on a line; ``rejected`` counts readings that were set aside."""

    meter_id: str
    reading: Reading | None = None
    flags: tuple[str, ...] = ()
    accepted: bool = True
    count: int = 0
    rejected: int = 0
    gaps: int = 0
    clock_offset_s: float | None = None


@dataclass(frozen=True, slots=True)
class LineView:
    """One line as it stands. ``own``: it feeds the wallet; ``question`` is for the user."""

    key: str
    connection: Connection
    status: MeterStatus
    adapter: str = ""
    own: bool = False
    replayed: bool = False
    meters: tuple[MeterView, ...] = ()
    question: str = ""
    capture: str = ""
    capture_problem: str = ""
    test_done: int = 0
    test_wanted: int = 0

    @property
    def protocol_name(self) -> str:
        """Return the protocol as users know it."""
        name = PROTOCOLS.get(self.connection.protocol, self.connection.protocol)
        profile = self.connection.options.profile
        return f"{name} ({profile})" if profile else name


Taker = Callable[[Reading], Verdict | None]


class MeterLine:
    """One line; made by :class:`MeterDesk`. ``take`` judges and keeps readings of a wallet."""

    def __init__(
        self,
        key: str,
        connection: Connection,
        clock: Clock,
        *,
        own: bool = False,
        take: Taker | None = None,
        on_status: Callable[[MeterStatus], None] = lambda status: None,
        on_reset: Callable[[], None] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.key, self.connection, self.own = key, connection, own
        self.log = RawLog(clock)
        self.session: Session | None = None
        self.adapter = ""
        self.replayed = False
        self._clock, self._take = clock, take
        self._forward_status, self._on_reset = on_status, on_reset
        self._reset = threading.Event()
        self._limits = limits or Limits()
        self._memories: dict[str, Memory] = {}
        self._lock = threading.Lock()
        self._meters: dict[str, MeterView] = {}
        self._status = MeterStatus("searching", connection.port, tr("not started"))
        self._capture: CaptureWriter | None = None
        self._capture_name = ""
        self._capture_files = ExitStack()
        self._test: ReportBuilder | None = None
        self._question = ""
        self.version = 0

    # -- from the session's thread ---------------------------------------------------------------

    def tap(self, sent: bool, data: bytes) -> None:
        """Take one piece that went over the line."""
        self.log(sent, data)
        capture, test = self._capture, self._test
        if capture is not None:
            capture(sent, data)
        if test is not None and not test.done.is_set():
            test.log(sent, data)

    def replayed_piece(self, time: datetime, sent: bool, data: bytes) -> None:
        """Take one piece of a capture."""
        self.log.add(time, time.timestamp(), sent, data)

    def take_reading(self, reading: Reading) -> None:
        """Judge and show a reading; a wallet's own is handed to it."""
        verdict = self._judged(reading)
        with self._lock:
            old = self._meters.get(reading.meter_id, MeterView(reading.meter_id))
            offset = clock_offset_s(reading, self._limits.zone)
            self._meters[reading.meter_id] = MeterView(
                reading.meter_id,
                reading,
                verdict.flags,
                verdict.accepted,
                old.count + 1,
                old.rejected + (not verdict.accepted),
                old.gaps + bool(reading.after_gap),
                old.clock_offset_s if offset is None else offset,
            )
            self._question = verdict.ask or ("" if verdict.accepted else self._question)
            test = self._test
            self.version += 1
        if test is not None:
            test.take_reading(reading)

    def take_status(self, status: MeterStatus) -> None:
        """Show how the session is doing."""
        with self._lock:
            self._status = status
            test = self._test
            self.version += 1
        if test is not None:
            test.take_status(status)
        self._forward_status(status)

    def _judged(self, reading: Reading) -> Verdict:
        if self._take is not None:
            verdict = self._take(reading)
            return verdict or Verdict(False, ("not_recorded",))
        memory = self._memories.get(reading.meter_id, Memory())
        if self._reset.is_set():
            self._reset.clear()
            verdict, memory = rebase(reading, memory)
        else:
            verdict, memory = judge(reading, memory, self._limits)
        self._memories[reading.meter_id] = memory
        return verdict

    # -- from the screens ------------------------------------------------------------------------

    def view(self) -> LineView:
        """Return the line as it stands."""
        with self._lock:
            session, test, capture = self.session, self._test, self._capture
            status = session.status if session is not None else self._status
            return LineView(
                self.key,
                self.connection,
                status,
                self.adapter,
                self.own,
                self.replayed,
                tuple(self._meters.values()),
                self._question,
                self._capture_name,
                capture.failed if capture is not None else "",
                len(test.report.readings) if test is not None else 0,
                test.wanted if test is not None else 0,
            )

    def turns(self) -> tuple[Turn, ...]:
        """Return the newest turns of the raw log."""
        return self.log.turns()

    def start_capture(self, path: Path) -> None:
        """Keep every byte from now on in ``path`` (appended); ``DeskError`` if it cannot be."""
        self.stop_capture()
        with self._lock:
            try:
                file = self._capture_files.enter_context(path.open("a", encoding="ascii"))
            except OSError as error:
                raise DeskError(
                    tr("cannot write {file}: {why}", file=path, why=error.strerror or "")
                ) from error
            self._capture, self._capture_name = CaptureWriter(file, self._clock), str(path)
            self.version += 1

    def stop_capture(self) -> str:
        """End the capture; return why it is not whole, "" if it is."""
        with self._lock:
            capture, self._capture, self._capture_name = self._capture, None, ""
            self.version += 1
            try:
                self._capture_files.close()
            except OSError as error:
                return error.strerror or type(error).__name__
        return capture.failed if capture is not None else ""

    def start_test(self, count: int) -> None:
        """Count the next ``count`` readings into a report."""
        builder = ReportBuilder(
            self.connection.port,
            self.connection.protocol,
            self._clock,
            count,
            adapter=self.adapter,
            limits=self._limits,
            addresses=self.connection.options.address,
        )
        builder.take_status(self.view().status)
        with self._lock:
            self._test = builder
            self.version += 1

    def finish_test(self) -> Report:
        """End the test and return its report; ``DeskError`` if none is running."""
        with self._lock:
            builder, self._test = self._test, None
            self.version += 1
        if builder is None:
            raise DeskError(tr("no test is running"))
        return builder.finish(self.view().status)

    def answer(self, *, was_reset: bool) -> None:
        """Take the user's answer; with ``was_reset`` the next reading is a new start."""
        if was_reset:
            (self._on_reset or self._reset.set)()
        with self._lock:
            self._question = ""
            self.version += 1


class MeterDesk:
    """The lines of this machine. The wallet's own, if there is one, comes first and stays."""

    def __init__(
        self,
        clock: Clock,
        *,
        port_factory: PortFactory = open_port,
        port_list: Callable[[], list[PortInfo]] = ports,
        timing: Timing | None = None,
        limits: Limits | None = None,
        detect_scale: float = 1.0,
    ) -> None:
        self._clock, self._factory, self._port_list = clock, port_factory, port_list
        self._timing, self._limits, self._scale = timing, limits, detect_scale
        self._lock = threading.Lock()
        self._lines: dict[str, MeterLine] = {}
        self._numbers = 0

    @property
    def clock(self) -> Clock:
        """Return the clock that ages are told by."""
        return self._clock

    def ports(self) -> list[PortInfo]:
        """Return the serial ports there are; blocks a moment."""
        return self._port_list()

    def views(self) -> tuple[LineView, ...]:
        """Return every line as it stands."""
        with self._lock:
            lines = list(self._lines.values())
        return tuple(line.view() for line in lines)

    def line(self, key: str) -> MeterLine:
        """Return the line ``key``; ``DeskError`` if it was closed."""
        with self._lock:
            try:
                return self._lines[key]
            except KeyError:
                raise DeskError(tr("this meter is not connected any more")) from None

    def detect(
        self,
        port: str,
        progress: Callable[[int, int, str], None],
        stop: threading.Event,
        address: str = "",
    ) -> Detection:
        """Search ``port`` for a meter, up to 30 s; ``PortError`` if it cannot be opened.

        ``address`` is the meter's number, unit or server address if it is known.
        """
        self._refuse_taken(port)
        detector = Detector(
            port,
            self._clock,
            factory=self._factory,
            progress=progress,
            stop=stop,
            scale=self._scale,
            address=address,
        )
        return detector.run()

    def connect(self, connection: Connection) -> str:
        """Open a session on a port; return the line's key.

        ``DeskError`` for a port that is read already or for wrong options. Does not wait for the
        meter.
        """
        self._refuse_taken(connection.port)
        line = self._add(connection)
        try:
            self.run(line)
        except ValueError as error:
            self._remove(line.key)
            raise DeskError(str(error)) from error
        return line.key

    def add_own(
        self,
        connection: Connection,
        take: Taker,
        on_status: Callable[[MeterStatus], None],
        on_reset: Callable[[], None] | None = None,
        *,
        further: bool = False,
    ) -> MeterLine:
        """Add the line that feeds a wallet; the wallet runs it. One that was there is closed.

        ``further`` adds one more beside it. A line that the user connected on the same port
        becomes the wallet's.
        """
        for view in self.views():
            same = view.connection.port == connection.port and not view.replayed
            if same or (view.own and not further):
                self._close(view.key)
        return self._add(connection, own=True, take=take, on_status=on_status, on_reset=on_reset)

    def remove_own(self, key: str = "") -> None:
        """Close the wallet's own lines, or one of them; blocks until the ports are given back."""
        for view in self.views():
            if view.own and key in ("", view.key):
                self._close(view.key)

    def run(self, line: MeterLine, session: Session | None = None) -> None:
        """Start ``session``, by default one for the line's connection; ``ValueError`` if wrong."""
        if session is None:
            connection = line.connection
            session = MeterSession(
                connection.port,
                protocol=connection.protocol,
                address=connection.options.address,
                interval_s=connection.interval_s,
                clock=self._clock,
                options=connection.options,
                link=connection.link,
                identity=connection.identity,
                on_reading=line.take_reading,
                on_status=line.take_status,
                port_factory=self._factory,
                port_list=self._port_list,
                timing=self._timing,
                tap=line.tap,
            )
            line.adapter = adapter_name(connection.port, self._port_list())
        line.session = session
        session.start()

    def replay(self, path: Path, protocol: str, options: Options, speed: float) -> str:
        """Play a capture back; return the line's key. ``DeskError`` if it is none."""
        try:
            if path.stat().st_size > _MOST_CAPTURE_BYTES:
                raise DeskError(tr("{file} is too large: cut it with an editor", file=path.name))
            held = list(pieces(path.read_text(encoding="ascii")))
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise DeskError(tr("cannot read {file}: {why}", file=path.name, why=why)) from error
        except ValueError as error:
            raise DeskError(tr("{file} is no capture of this program", file=path.name)) from error
        line = self._add(Connection(path.name, protocol, options))
        line.replayed = True
        try:
            session = ReplaySession(
                path.name,
                held,
                protocol,
                options,
                speed=speed,
                on_reading=line.take_reading,
                on_status=line.take_status,
                tap=line.replayed_piece,
            )
        except ValueError as error:
            self._remove(line.key)
            raise DeskError(str(error)) from error
        self.run(line, session)
        return line.key

    def disconnect(self, key: str) -> None:
        """Close a line; blocks until its port is given back. The wallet's own stays."""
        if self.line(key).own:
            raise DeskError(tr("the wallet reads this meter: choose another one for it first"))
        self._close(key)

    def close(self) -> None:
        """Close all lines; blocks until their ports are given back."""
        for view in self.views():
            self._close(view.key)

    def _close(self, key: str) -> None:
        line = self._remove(key)
        if line is None:
            return
        if line.session is not None:
            line.session.stop()
        line.stop_capture()

    def _remove(self, key: str) -> MeterLine | None:
        with self._lock:
            return self._lines.pop(key, None)

    def _add(
        self,
        connection: Connection,
        *,
        own: bool = False,
        take: Taker | None = None,
        on_status: Callable[[MeterStatus], None] = lambda status: None,
        on_reset: Callable[[], None] | None = None,
    ) -> MeterLine:
        with self._lock:
            self._numbers += 1
            key = f"line{self._numbers}"
            line = MeterLine(
                key,
                connection,
                self._clock,
                own=own,
                take=take,
                on_status=on_status,
                on_reset=on_reset,
                limits=self._limits,
            )
            # The wallet's own line stands first, whenever it came.
            mine = {k: each for k, each in self._lines.items() if each.own}
            rest = {k: each for k, each in self._lines.items() if not each.own}
            self._lines = {**mine, key: line, **rest} if own else {**mine, **rest, key: line}
            return line

    def _refuse_taken(self, port: str) -> None:
        if any(v.connection.port == port and not v.replayed for v in self.views()):
            raise DeskError(tr("{port} is being read already", port=port))
