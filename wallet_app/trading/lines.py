"""The lines a wallet reads: its own meter and, where there are several, the further ones."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from light_node.clock import Clock
from wallet_app.failures import explain
from wallet_app.i18n import tr
from wallet_app.meter.desk import Connection, LineView, MeterDesk
from wallet_app.meter.dialogue import Options
from wallet_app.meter.events import Origin, Reading
from wallet_app.meter.plausibility import Verdict
from wallet_app.meter.ports import Link
from wallet_app.meter.recording import RecordingError
from wallet_app.meter.roles import LINE_KEYS, Role, parse_lines, parse_roles, recorded_id
from wallet_app.meter.session import MeterSession, MeterStatus
from wallet_app.settings import Settings, parse_link
from wallet_app.trading.live import LiveFeed

Say = Callable[[str, str], None]
_TROUBLE = ("silent", "unplugged", "error")


@dataclass(frozen=True, slots=True)
class Meter:
    """Where a meter hangs, as :class:`~wallet_app.meter.session.MeterSession` takes it."""

    port: str
    protocol: str
    address: str | None
    interval_s: float
    origin: Origin | None = None
    options: Options = field(default_factory=Options)
    link: Link | None = None
    identity: str = ""

    def connection(self) -> Connection:
        """Return how to reach it."""
        options = replace(self.options, address=self.address)
        return Connection(
            self.port, self.protocol, options, self.interval_s, self.link, self.identity
        )

    @classmethod
    def of(cls, settings: Settings) -> "Meter | None":
        """Return the meter the settings name, None if they name none."""
        own = {name: settings[f"meter_{name}"] for name in LINE_KEYS}
        return cls._read(own, settings) if own["port"] else None

    @classmethod
    def further(cls, settings: Settings) -> list["Meter"]:
        """Return what hangs on the wallet's further lines."""
        return [cls._read(line, settings) for line in parse_lines(settings["meter_lines"])]

    @classmethod
    def _read(cls, line: Mapping[str, str], settings: Settings) -> "Meter":
        link = line.get("link")
        return cls(
            line["port"],
            line.get("protocol") or "dlt645",
            line.get("address") or None,
            settings["meter_interval_ms"] / 1000,
            options=Options(
                profile=line.get("profile", ""),
                listen=line.get("mode") == "listen",
                ask=line.get("mode") == "pull",
                password=line.get("password", "").encode("utf-8"),
                key=bytes.fromhex(line.get("key", "")),
                auth_key=bytes.fromhex(line.get("auth_key", "")),
            ),
            link=Link(*parse_link(link)) if link else None,
            identity=line.get("adapter", ""),
        )


class MeterLines:
    """Reads the wallet's meters on their lines and hands the readings to ``live``.

    ``say(level, text)`` makes an activity line.
    """

    def __init__(self, desk: MeterDesk, live: LiveFeed, clock: Clock, say: Say) -> None:
        self._desk, self._live, self._clock, self._say = desk, live, clock, say
        self._lock = threading.Lock()
        self._sessions: list[MeterSession] = []

    def read(self, own: Meter | None, settings: Settings) -> None:
        """Read ``own`` and the further lines from now on; blocks until the old ports are free.

        What the settings may get wrong is said as an activity line.
        """
        with self._lock:
            self._sessions = []
            self._desk.remove_own()
            further = Meter.further(settings)
            several = bool(further or settings["meter_roles"])
            several = several or (own is not None and "," in (own.address or ""))
            self._live.use_roles(parse_roles(settings["meter_roles"]) if several else None)
            if own is None:
                self._live.take_status(MeterStatus("none", "", tr("no meter connected")))
            else:
                self._open(own, None, self._live.take_status)
            for meter in further:
                self._open(meter, meter.identity or meter.port, self._trouble())

    def request_now(self) -> None:
        """Poll every meter at once instead of at the end of its interval."""
        for session in self._sessions:
            session.request_now()

    def _open(
        self, meter: Meter, place: str | None, on_status: Callable[[MeterStatus], None]
    ) -> None:
        asked = ""  # the meter a question to the user is about

        def take(reading: Reading) -> Verdict | None:
            nonlocal asked
            if place is not None:
                name = recorded_id(reading.meter_id, reading.protocol, place)
                reading = replace(reading, meter_id=name)
            verdict = self._take(reading)
            asked = reading.meter_id if verdict is not None and verdict.ask else asked
            return verdict

        connection = meter.connection()
        line = self._desk.add_own(
            connection,
            take,
            on_status,
            lambda: self._live.confirm_reset(asked),
            further=place is not None,
        )
        try:
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
                origin=meter.origin,
                tap=line.tap,
            )
        except ValueError as error:
            self._desk.remove_own(line.key)
            on_status(MeterStatus("error", connection.port, explain(error)))
            self._say("error", explain(error))
            return
        self._sessions.append(session)
        self._desk.run(line, session)

    def _take(self, reading: Reading) -> Verdict | None:
        try:
            return self._live.take_reading(reading)
        except RecordingError as error:
            # Nothing is lost that can be kept: registers go on counting and the next reading that
            # can be stored bridges the gap. But the user must know.
            self._say("error", explain(error))
            return None

    def _trouble(self) -> Callable[[MeterStatus], None]:
        """Return what says once when a further line falls silent: no card shows its state."""
        last = ""

        def take(status: MeterStatus) -> None:
            nonlocal last
            if status.state in _TROUBLE and status.state != last:
                self._say("warning", status.text)
            if status.state != "searching":
                last = status.state

        return take


def adopted(settings: Settings, views: Sequence[LineView], chosen: LineView) -> dict[str, str]:
    """Return what changes in the settings when ``chosen`` becomes the wallet's main line."""
    roles, lines = parse_roles(settings["meter_roles"]), parse_lines(settings["meter_lines"])
    for name in _names(settings, _main(settings, views)):
        roles.pop(name, None)
    roles = {name: role for name, role in roles.items() if name not in _names(settings, chosen)}
    lines = [line for line in lines if line["port"] != chosen.connection.port]
    if roles or lines:
        roles |= {meter.meter_id: Role.GRID for meter in chosen.meters}
    main = {f"meter_{name}": value for name, value in _line(chosen.connection).items()}
    return {**main, **_kept(roles, lines)}


def assigned(
    settings: Settings, views: Sequence[LineView], chosen: LineView, meter: str, role: Role | None
) -> dict[str, str]:
    """Return what changes in the settings when a meter gets a role; None takes it away.

    A line that is not the wallet's yet becomes a further line of it, and one on which no meter has
    a role is let go; the main line stays.
    """
    if not settings["meter_port"]:
        changes = adopted(settings, views, chosen)
        settings = settings.changed(**changes)
        return {**changes, **assigned(settings, views, chosen, meter, role or Role.GRID)}
    roles, lines = parse_roles(settings["meter_roles"]), parse_lines(settings["meter_lines"])
    connection, main = chosen.connection, _main(settings, views)
    is_main = connection.port == settings["meter_port"]
    name = _name(settings, connection, meter)
    if not roles and main is not None:
        # Until now the main meter counted without a word; beside others it has to be said.
        roles = {each.meter_id: Role.GRID for each in main.meters if each.meter_id}
    if role is not None:
        roles[name] = role
        if not is_main and connection.port not in {line["port"] for line in lines}:
            lines.append({k: v for k, v in _line(connection).items() if v})
    else:
        roles.pop(name, None)
        if not is_main and not any(each in roles for each in _names(settings, chosen)):
            lines = [line for line in lines if line["port"] != connection.port]
    several = lines or "," in settings["meter_address"] or len(roles) > 1
    if not several and set(roles.values()) <= {Role.GRID}:
        roles = {}
    return _kept(roles, lines)


def role_of(settings: Settings, connection: Connection, meter: str) -> Role | None:
    """Return what a meter on a line is for; None if it has no role."""
    return parse_roles(settings["meter_roles"]).get(_name(settings, connection, meter))


def _name(settings: Settings, connection: Connection, meter: str) -> str:
    if connection.port == settings["meter_port"]:
        return meter
    return recorded_id(meter, connection.protocol, connection.identity or connection.port)


def _names(settings: Settings, view: LineView | None) -> list[str]:
    meters = view.meters if view is not None else ()
    return [_name(settings, view.connection, meter.meter_id) for meter in meters if view]


def _main(settings: Settings, views: Sequence[LineView]) -> LineView | None:
    mine = (v for v in views if v.own and v.connection.port == settings["meter_port"])
    return next(mine, None)


def _line(connection: Connection) -> dict[str, str]:
    options = connection.options
    return {
        "port": connection.port,
        "protocol": connection.protocol,
        "address": options.address or "",
        "profile": options.profile,
        "link": str(connection.link) if connection.link else "",
        "mode": "pull" if options.ask else "listen" if options.listen else "ask",
        "adapter": connection.identity,
        "key": options.key.hex(),
        "auth_key": options.auth_key.hex(),
        "password": options.password.decode("utf-8", "replace"),
    }


def _kept(roles: Mapping[str, Role], lines: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {
        "meter_roles": json.dumps({k: str(v) for k, v in roles.items()}) if roles else "",
        "meter_lines": json.dumps(list(lines)) if lines else "",
    }
