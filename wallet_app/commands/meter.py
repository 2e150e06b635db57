"""``prosumer-wallet meter``: decode telegrams, find, read, test and simulate meters."""

import argparse
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from light_node import commandline, jsonio
from light_node.clock import MarketTime, SystemClock
from light_node.i18n import os_reason, said, tr
from wallet_app import i18n
from wallet_app.commands.window import no_window_reason
from wallet_app.gui.libraries import qt_libraries_problem
from wallet_app.meter import decode as decoding
from wallet_app.meter import report as reporting
from wallet_app.meter.capture import CaptureWriter, pieces, received
from wallet_app.meter.detect import Detector, Found
from wallet_app.meter.dialogue import PROTOCOLS, Options
from wallet_app.meter.events import Reading, plain
from wallet_app.meter.explain import Context, explain
from wallet_app.meter.explain import lines as explained_lines
from wallet_app.meter.ports import PortError, ports
from wallet_app.meter.rawlog import RawLog, Turn
from wallet_app.meter.replay import ReplaySession
from wallet_app.meter.report_html import report_html
from wallet_app.meter.session import MeterSession, MeterStatus
from wallet_app.meter.simulator.device import FAULTS

_MOST_EXPLAINED = 256 * 1024
SUMMARY = (
    "Work with smart meters on serial ports: decode, list, detect, read, watch, test, replay, "
    "simulate, or all of it in a window."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands and their options."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _configure_decode(commands.add_parser("decode", help="decode telegrams from a file"))
    listing = commands.add_parser("list", help="list the serial ports")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(run=_list)
    for name, run, text in (
        ("read", _read, "read the meter once"),
        ("watch", _watch, "read the meter until Ctrl-C"),
    ):
        reading = commands.add_parser(name, help=text)
        _add_reading_options(reading, several=name == "watch")
        reading.add_argument(
            "--raw", action="store_true", help="print what goes over the line, byte by byte"
        )
        reading.set_defaults(run=run)
    testing = commands.add_parser("test", help="read for a while and report")
    _add_reading_options(testing, several=True)
    testing.add_argument(
        "--polls", type=int, default=10, metavar="N", help="readings to take of each meter"
    )
    testing.add_argument("--csv", metavar="FILE", help="write all readings as a table")
    testing.add_argument("--pdf", metavar="FILE", help="write the report as a document")
    testing.add_argument("--html", metavar="FILE", help="the same document as a web page")
    testing.add_argument("--language", choices=sorted(i18n.LANGUAGES), help="of the document")
    testing.set_defaults(run=_test)
    replaying = commands.add_parser("replay", help="read a capture as if it were the meter")
    replaying.add_argument("file", metavar="FILE", help="written with --capture or by the window")
    replaying.add_argument("--protocol", required=True, choices=sorted(PROTOCOLS))
    replaying.add_argument("--address", help="number of the meter or unit")
    replaying.add_argument(
        "--profile", default="", metavar="NAME", help="register profile (Modbus)"
    )
    replaying.add_argument("--listen", action="store_true", help="mode D (IEC 62056-21)")
    replaying.set_defaults(ask=False, password="")  # what was received is read, nothing is asked
    replaying.add_argument("--key", default="", metavar="HEX", help="decryption key (DLMS, P1)")
    replaying.add_argument("--auth-key", default="", metavar="HEX", help="second key (DLMS, P1)")
    replaying.add_argument(
        "--speed", type=float, default=0.0, help="times as fast as it was; 0: at once"
    )
    replaying.add_argument("--json", action="store_true", help="print JSON")
    replaying.set_defaults(run=_replay)
    window = commands.add_parser("window", help="the meter page alone, without a wallet")
    window.set_defaults(run=_window)
    detecting = commands.add_parser("detect", help="find out which meter hangs on a port")
    detecting.add_argument("port", metavar="PORT", help="for example /dev/ttyUSB0 or COM5")
    detecting.add_argument("--address", default="", help="number printed on the meter, or unit")
    detecting.add_argument("--json", action="store_true", help="print JSON")
    detecting.set_defaults(run=_detect)
    _configure_simulate(commands.add_parser("simulate", help="serve a simulated meter"))


def _add_reading_options(reading: argparse.ArgumentParser, *, several: bool = False) -> None:
    text = "for example /dev/ttyUSB0 or COM5"
    if several:
        text += "; several at once, each as PORT, PROTOCOL@PORT or PROTOCOL:ADDRESS@PORT"
    reading.add_argument("port", metavar="PORT", nargs="+" if several else 1, help=text)
    reading.add_argument("--protocol", default="dlt645", choices=sorted(PROTOCOLS))
    reading.add_argument(
        "--address",
        help="number of the meter or unit, several on one line with commas; default: ask it",
    )
    reading.add_argument("--profile", default="", help="register profile (Modbus)")
    reading.add_argument("--listen", action="store_true", help="mode D (IEC 62056-21)")
    reading.add_argument(
        "--ask", action="store_true", help="ask instead of waiting (DLMS; address 1 or 1.17)"
    )
    reading.add_argument("--password", default="", help="low level security (DLMS)")
    reading.add_argument("--key", default="", metavar="HEX", help="decryption key (DLMS, P1)")
    reading.add_argument("--auth-key", default="", metavar="HEX", help="second key (DLMS, P1)")
    reading.add_argument("--interval", type=float, default=5.0, help="seconds between polls")
    reading.add_argument("--timeout", type=float, default=30.0, help="seconds before giving up")
    reading.add_argument("--json", action="store_true", help="print JSON")
    reading.add_argument("--capture", metavar="FILE", help="keep every byte with its time")


def execute(arguments: argparse.Namespace) -> int:
    """Run the chosen sub-command; return the exit code."""
    run: Callable[[argparse.Namespace], int] = arguments.run
    return run(arguments)


def _configure_decode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="hex text or raw bytes; - is standard input")
    parser.add_argument("--protocol", required=True, choices=sorted(decoding.DECODERS))
    parser.add_argument("--request", default="", metavar="HEX", help="the request it answers")
    parser.add_argument("--meter", default="", metavar="ADDR", help="only this meter's frames")
    parser.add_argument("--profile", default="", metavar="NAME", help="register profile (Modbus)")
    parser.add_argument("--key", default="", metavar="HEX", help="decryption key (DLMS, P1)")
    parser.add_argument(
        "--auth-key", default="", metavar="HEX", help="authentication key (DLMS, P1)"
    )
    parser.add_argument("--chunks", type=int, default=1, metavar="N", help="feed it in N pieces")
    parser.add_argument("--raw", action="store_true", help="the file is raw bytes, never hex text")
    parser.add_argument(
        "--explain", action="store_true", help="explain every byte instead, a field a line"
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON (it always does but with --explain)"
    )
    parser.set_defaults(run=_decode)


def _configure_simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--protocol", default="dlt645", choices=sorted(PROTOCOLS))
    parser.add_argument("--address", help="number of the meter, or Modbus unit")
    parser.add_argument("--profile", default="", metavar="NAME", help="register profile (Modbus)")
    parser.add_argument("--push", action="store_true", help="mode D (IEC 62056-21)")
    parser.add_argument("--ask", action="store_true", help="answers instead of pushing (DLMS)")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="KIND", help=f"one of {', '.join(FAULTS)}"
    )
    parser.add_argument("--fault-every", type=int, default=3, metavar="N", help="every N replies")
    parser.add_argument("--home", default="family", metavar="PROFILE", help="named home")
    parser.add_argument("--annual-kwh", type=float, help="energy used in a year")
    parser.add_argument("--pv-kwp", type=float, help="size of the roof")
    parser.add_argument("--battery-kwh", type=float, help="room of the battery")
    parser.add_argument("--battery-kw", type=float, help="largest power of the battery")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weather-seed", type=int, default=0)
    parser.add_argument("--utc-offset", type=float, default=8.0, help="the home's clock, hours")
    parser.add_argument("--market-time", default="null", metavar="JSON", help="how time runs")
    parser.add_argument("--json", action="store_true", help="print JSON (it always does)")
    parser.set_defaults(run=_simulate)


def _decode(arguments: argparse.Namespace) -> int:
    data = commandline.read_bytes(arguments.file)
    if not 1 <= arguments.chunks <= 1_000_000:
        raise commandline.InputError("--chunks must be from 1 to 1000000")
    options = decoding.Options(
        request=_hex(arguments.request, "--request"),
        meter=arguments.meter,
        profile=arguments.profile,
        key=_hex(arguments.key, "--key"),
        auth_key=_hex(arguments.auth_key, "--auth-key"),
        chunks=arguments.chunks,
    )
    telegrams = data if arguments.raw else unhex(data)
    if arguments.explain:
        return _explain(arguments, telegrams, options)
    try:
        result = decoding.decode(arguments.protocol, telegrams, options)
    except ValueError as error:
        raise commandline.InputError(str(error)) from error
    commandline.print_json(result.to_json())
    return commandline.GOOD if result.frames else commandline.NO


def _explain(arguments: argparse.Namespace, data: bytes, options: decoding.Options) -> int:
    if len(data) > _MOST_EXPLAINED:
        raise commandline.InputError(
            f"--explain takes up to {_MOST_EXPLAINED >> 10} KiB: cut the telegrams of interest out"
        )
    i18n.use_language(i18n.ENGLISH if arguments.json else None)
    context = Context(options.request, options.profile, options.key, options.auth_key)
    try:
        fields = explain(arguments.protocol, data, context)
    except ValueError as error:
        raise commandline.InputError(str(error)) from error
    if arguments.json:
        commandline.print_json(
            [{**asdict(f), "hex": data[f.at : f.at + f.length].hex()} for f in fields]
        )
    else:
        for line in explained_lines(data, fields):
            _say(line)
    framed = any(field.good is not None or field.depth for field in fields)
    return commandline.GOOD if framed else commandline.NO


def unhex(data: bytes) -> bytes:
    """Return what ``data`` spells: hex (also with ``:``, ``-``, ``0x``), a capture, or itself."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        return data
    heard = received(text)
    if heard is not None and heard:
        return heard
    for separator in (":", "-", ",", "0x", "0X"):
        text = text.replace(separator, " ")
    try:
        spelled = bytes.fromhex(text)
    except ValueError:
        return data
    return spelled or data


def _hex(text: str, option: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise commandline.InputError(f"{option} must be hex digits, two per byte") from error


def _list(arguments: argparse.Namespace) -> int:
    found = ports()
    if arguments.json:
        keys = ("device", "name", "identity", "likely")
        commandline.print_json([{key: getattr(port, key) for key in keys} for port in found])
    else:
        for port in found:
            _say(f"{port.device}  {port.name or 'unnamed'}")
        if not found:
            _say("no serial ports: plug in the adapter")
    return commandline.GOOD if found else commandline.NO


def _detect(arguments: argparse.Namespace) -> int:
    def progress(done: int, total: int, text: str) -> None:
        if not arguments.json:
            _warn(f"{100 * done // total:3d} % {text} …")

    try:
        detection = Detector(
            arguments.port, SystemClock(), progress=progress, address=arguments.address
        ).run()
    except PortError as error:
        raise commandline.InputError(str(error)) from error
    found = detection.found
    if arguments.json:
        tried = [{**asdict(attempt), "link": str(attempt.link)} for attempt in detection.attempts]
        shown = {**asdict(found), "link": str(found.link)} if found else None
        commandline.print_json({"found": shown, "tried": tried, "advice": detection.advice})
    elif found is None:
        for attempt in detection.attempts:
            _say(f"{attempt.what} at {attempt.link}: {attempt.result}")
        _say(detection.advice)
    else:
        name = PROTOCOLS[found.protocol] + (f" ({found.profile})" if found.profile else "")
        proof = "" if found.proven else ", without check sum"
        _say(f"{name} at {found.link}: meter {found.meter_id or 'without a number'}{proof}")
        _say(f"read it with: prosumer-wallet meter read {arguments.port} {_how(found)}")
    return commandline.GOOD if found else commandline.NO


def _how(found: Found) -> str:
    """Return the options that read what a search found."""
    options = [f"--protocol {found.protocol}"]
    options += [f"--profile {found.profile}"] if found.profile else []
    options += [f"--address {found.address}"] if found.address else []
    options += ["--listen"] if found.listen and found.protocol == "iec62056_21" else []
    options += ["--ask"] if found.ask else []
    return " ".join(options)


def _replay(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.speed <= 10_000:
        raise commandline.InputError("--speed must be from 0 to 10000")
    data = commandline.read_bytes(arguments.file)
    found: list[Reading] = []

    def on_reading(reading: Reading) -> None:
        found.append(reading)
        _print_reading(reading, as_json=arguments.json)

    try:
        session = ReplaySession(
            arguments.file,
            list(pieces(data.decode("ascii"))),
            arguments.protocol,
            _options(arguments),
            speed=arguments.speed,
            on_reading=on_reading,
            on_status=lambda status: None,
        )
    except ValueError as error:
        raise commandline.InputError(f"{arguments.file}: {error}") from error
    session.start()
    try:
        while not session.join(0.2):
            pass
    finally:
        session.stop()
    status = session.status
    _warn(f"{status.good_frames} good frames, {status.bad_frames} damaged")
    return commandline.GOOD if found else commandline.NO


def _window(arguments: argparse.Namespace) -> int:
    i18n.use_language()
    problem = no_window_reason()
    if problem:
        raise commandline.InputError(problem)
    # Only now: this loads Qt.
    from wallet_app.gui.meter_window import run_meter_window

    return run_meter_window(SystemClock())


def _read(arguments: argparse.Namespace) -> int:
    return _follow(arguments, once=True)


def _watch(arguments: argparse.Namespace) -> int:
    return _follow(arguments, once=False)


def _test(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.polls <= 100_000:
        raise commandline.InputError("--polls must be from 1 to 100000")
    _check_times(arguments)
    if len(arguments.port) > 1 and arguments.capture:
        raise commandline.InputError("--capture is for one port at a time")
    for name in (arguments.csv, arguments.html, arguments.pdf):
        if name and not os.access(Path(name).absolute().parent, os.W_OK):  # before a long test
            raise commandline.InputError(
                f"cannot write {name}: there is no such folder to write in"
            )
    problem = qt_libraries_problem() if arguments.pdf else None
    if problem:
        raise commandline.InputError(f"--pdf cannot be written here, --html can: {problem}")
    with _capture(arguments.capture) as tap:
        try:
            reports = reporting.run(
                [_test_place(spec, arguments) for spec in arguments.port],
                clock=SystemClock(),
                count=arguments.polls,
                timeout_s=arguments.timeout + arguments.polls * arguments.interval,
                interval_s=arguments.interval,
                tap=tap,
            )
        except ValueError as error:
            raise commandline.InputError(str(error)) from error
    if arguments.csv:
        _write_text(arguments.csv, reporting.table(reports))
    _write_document(arguments, reports)
    meters = [meter.to_json() for line in reports for meter in line.meters()]
    if arguments.json:
        commandline.print_json(meters[0] if len(meters) == 1 else {"meters": meters})
    else:
        for number, meter in enumerate(meters):
            if number:
                _say("")
            _say_report(meter)
    return commandline.GOOD if all(line.readings for line in reports) else commandline.NO


def _test_place(spec: str, arguments: argparse.Namespace) -> reporting.Place:
    port, protocol, address = _place(spec, arguments)
    return reporting.Place(port, protocol, replace(_options(arguments), address=address))


def _write_document(arguments: argparse.Namespace, reports: Sequence[reporting.Report]) -> None:
    """Write the reports as HTML and PDF where they are wanted."""
    if not (arguments.html or arguments.pdf):
        return
    i18n.use_language(arguments.language)
    page = report_html(*reports)
    i18n.use_language(i18n.ENGLISH)  # what else is printed stays as it is for programs to read
    if arguments.html:
        _write_text(arguments.html, page)
    if arguments.pdf:
        from wallet_app.gui.pdf import headless, write_pdf

        with headless():
            try:
                write_pdf(page, Path(arguments.pdf))
            except OSError as error:
                raise commandline.InputError(
                    tr("cannot write {file}: {why}", file=arguments.pdf, why=said(os_reason(error)))
                ) from error


def _say_report(report: dict[str, Any]) -> None:
    for key, value in report.items():
        if isinstance(value, dict):
            for name, inner in value.items():
                shown = " to ".join(inner) if isinstance(inner, list) else inner
                _say(f"{key} {name}: {shown}")
        elif value not in ("", []):
            _say(f"{key}: {', '.join(value) if isinstance(value, list) else value}")


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        address=arguments.address,
        profile=arguments.profile,
        listen=arguments.listen,
        ask=arguments.ask,
        password=arguments.password.encode("utf-8"),
        key=_hex(arguments.key, "--key"),
        auth_key=_hex(arguments.auth_key, "--auth-key"),
    )


def _check_times(arguments: argparse.Namespace) -> None:
    if arguments.interval <= 0 or arguments.timeout <= 0:
        raise commandline.InputError("--interval and --timeout must be more than 0 seconds")


@contextmanager
def _capture(name: str | None) -> Iterator[CaptureWriter | None]:
    if name is None:
        yield None
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(name).open("a", encoding="ascii"))
        except OSError as error:
            raise commandline.InputError(
                tr("cannot write {file}: {why}", file=name, why=said(os_reason(error)))
            ) from error
        writer = CaptureWriter(file, SystemClock())
        yield writer
        if writer.failed:
            _warn(f"the capture in {name} is not whole: {writer.failed}")


def _write_text(name: str, text: str) -> None:
    try:
        Path(name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise commandline.InputError(
            tr("cannot write {file}: {why}", file=name, why=said(os_reason(error)))
        ) from error


def _follow(arguments: argparse.Namespace, *, once: bool) -> int:
    i18n.use_language(i18n.ENGLISH if arguments.json else None)
    _check_times(arguments)
    if len(arguments.port) > 1 and (arguments.capture or arguments.raw):
        raise commandline.InputError("--capture and --raw are for one port at a time")
    done = threading.Event()
    newest: dict[str, MeterStatus] = {}

    def on_reading(reading: Reading) -> None:
        _print_reading(reading, as_json=arguments.json)
        if once:
            done.set()

    def on_status(status: MeterStatus) -> None:
        before = newest.get(status.port)
        if not once and (before is None or before.text != status.text):
            _warn(status.text)
        newest[status.port] = status

    with _capture(arguments.capture) as capture:
        log = RawLog(SystemClock(), most_turns=4, on_turn=_turn_printer(arguments))

        def tap(sent: bool, data: bytes) -> None:
            if capture is not None:
                capture(sent, data)
            if arguments.raw:
                log(sent, data)

        sessions: list[MeterSession] = []
        for port, protocol, address in [_place(spec, arguments) for spec in arguments.port]:
            try:
                sessions.append(
                    MeterSession(
                        port,
                        protocol=protocol,
                        address=address,
                        interval_s=arguments.interval,
                        clock=SystemClock(),
                        options=_options(arguments),
                        on_reading=on_reading,
                        on_status=on_status,
                        tap=tap,
                    )
                )
            except ValueError as error:
                raise commandline.InputError(str(error)) from error
        for session in sessions:
            session.start()
        try:
            finished = done.wait(arguments.timeout if once else None)
        finally:
            for session in sessions:
                session.stop()
            log.flush()
    if finished:
        return commandline.GOOD
    text = next(iter(newest.values())).text if newest else f"nothing came from {arguments.port[0]}"
    _warn(text)
    return commandline.NO


def _place(spec: str, arguments: argparse.Namespace) -> tuple[str, str, str | None]:
    """Return (port, protocol, address) of ``PORT`` or ``PROTOCOL[:ADDRESS]@PORT``."""
    what, at, port = spec.partition("@")
    protocol, _, address = what.partition(":")
    if not at or protocol not in PROTOCOLS:
        return spec, arguments.protocol, arguments.address
    return port, protocol, address or None


def _turn_printer(arguments: argparse.Namespace) -> Callable[[Turn], None]:
    """Return what prints a turn with its fields, or as one JSON line."""

    def show(turn: Turn) -> None:
        request = b"" if turn.sent else turn.request
        context = Context(
            request,
            arguments.profile,
            _hex(arguments.key, "--key"),
            _hex(arguments.auth_key, "--auth-key"),
        )
        fields = explain(arguments.protocol, turn.data, context)
        if arguments.json:
            head = {"time": turn.time.isoformat(), "sent": turn.sent, "hex": turn.data.hex()}
            _say(json.dumps({**head, "fields": [asdict(field) for field in fields]}))
            return
        _say(f"{turn.time:%H:%M:%S.%f} {'>' if turn.sent else '<'} {len(turn.data)} bytes")
        for line in explained_lines(turn.data, fields):
            _say(line)

    return show


def _print_reading(reading: Reading, *, as_json: bool) -> None:
    values = {key: plain(value) for key, value in reading.values.items()}
    if as_json:
        head = {"host_time": reading.host_time.isoformat(), "meter_id": reading.meter_id}
        line = json.dumps({**head, **values, "proof": reading.proof, "origin": reading.origin})
    else:
        shown = "  ".join(f"{key} {value}" for key, value in values.items())
        line = f"{reading.host_time:%H:%M:%S}  {reading.meter_id}  {shown}"
    _say(line)


def _simulate(arguments: argparse.Namespace) -> int:
    if sys.platform == "win32":
        raise commandline.InputError("meter simulate needs pseudo-terminals: Linux or macOS")
    from wallet_app.meter.simulator import serve

    choice = serve.Choice(
        arguments.home,
        arguments.annual_kwh,
        arguments.pv_kwp,
        arguments.battery_kwh,
        arguments.battery_kw,
        arguments.seed,
        arguments.weather_seed,
        arguments.utc_offset,
    )
    meter = serve.MeterChoice(
        arguments.protocol,
        arguments.address or ("1" if arguments.protocol == "modbus_rtu" else "202611200001"),
        arguments.profile,
        arguments.push,
        arguments.ask,
        tuple(arguments.fault),
        arguments.fault_every,
    )
    try:
        market = MarketTime.from_json(jsonio.strict_loads(arguments.market_time))
    except jsonio.JsonError as error:
        raise commandline.InputError(f"--market-time: {error}") from error
    try:
        server = serve.HomeServer(choice, meter, market, SystemClock())
    except ValueError as error:
        raise commandline.InputError(str(error)) from error
    with server:
        serve.run(server, sys.stdin, sys.stdout, sys.stderr)
    return commandline.GOOD


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _warn(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
