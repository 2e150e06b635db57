"""``prosumer-wallet meter``: exit codes, output, and bad input."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wallet_app import cli, i18n
from wallet_app.commands import meter
from wallet_app.commands.meter import unhex
from wallet_app.gui.libraries import qt_libraries_problem
from wallet_app.meter.detect import Found
from wallet_app.meter.dlt645 import encode, read_request
from wallet_app.meter.ports import Link

METER = "123456789012"
FRAME = encode(METER, 0x91, bytes.fromhex("0000010056341200"))
REQUEST = read_request(METER, 0x00010000).hex()

Decode = Callable[..., tuple[int, Any]]


@pytest.fixture
def decode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Decode:
    def run(data: bytes, *options: str, protocol: str = "dlt645") -> tuple[int, Any]:
        path = tmp_path / "telegram"
        path.write_bytes(data)
        code = cli.main(["meter", "decode", "--protocol", protocol, *options, str(path)])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize(
    "data",
    [
        FRAME,
        FRAME.hex().encode(),
        FRAME.hex(" ").upper().encode() + b"\r\n",
        FRAME.hex(":").encode(),
        ", ".join(f"0x{b:02x}" for b in FRAME).encode(),
    ],
    ids=["raw", "hex", "spaced", "colons", "0x"],
)
def test_hex_text_and_raw_bytes(data: bytes, decode: Decode):
    code, out = decode(data)
    assert code == 0
    assert out == {"readings": [{"meter_id": METER, "import_kwh": "1234.56"}], "problems": []}


def test_damaged_frame_is_no_reading(decode: Decode):
    damaged = bytearray(FRAME)
    damaged[14] ^= 1
    code, out = decode(b"\xfe\xfe" + bytes(damaged))
    assert code == 1
    assert out == {"readings": [], "problems": [{"kind": "checksum", "at": 2}]}


def test_reply_to_the_request(decode: Decode):
    assert decode(FRAME, "--request", REQUEST)[0] == 0
    code, out = decode(FRAME, "--request", read_request(METER, 0x00020000).hex())
    assert code == 1
    assert out["problems"][0]["kind"] == "other_identifier"


def test_only_this_meter(decode: Decode):
    assert decode(FRAME, "--meter", METER)[0] == 0
    code, out = decode(FRAME, "--meter", "1")
    assert code == 1
    assert out["problems"][0]["kind"] == "other_meter"


def test_chunks_change_nothing(decode: Decode):
    assert decode(FRAME * 3, "--chunks", "50") == decode(FRAME * 3)


def test_empty_file(decode: Decode):
    assert decode(b"") == (1, {"readings": [], "problems": []})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--protocol", "dlt645", "--request", "6", "FILE"], "hex digits"),
        (["--protocol", "dlt645", "--request", "1234", "FILE"], "request frame"),
        (["--protocol", "dlt645", "--meter", "twelve", "FILE"], "meter address"),
        (["--protocol", "dlt645", "--chunks", "0", "FILE"], "--chunks"),
        (["--protocol", "dlt645", "no-such-file"], "cannot read"),
    ],
)
def test_bad_input(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "telegram"
    path.write_bytes(FRAME)
    arguments = [str(path) if option == "FILE" else option for option in options]
    assert cli.main(["meter", "decode", *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("options", [["decode", "--protocol", "morse", "x"], ["decode", "x"], []])
def test_bad_usage(options: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["meter", *options])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_text_that_is_no_hex_stays_as_it_is():
    assert unhex(b"/XMX5 telegram") == b"/XMX5 telegram"
    assert unhex(b"  \n") == b"  \n"


def test_list(capsys: pytest.CaptureFixture[str]):
    code = cli.main(["meter", "list", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == (0 if found else 1)


def test_read_without_a_port(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["meter", "read", "/dev/no-such-port", "--timeout", "0.3"]) == 1
    assert "plug in the adapter" in capsys.readouterr().err


def test_detect_without_a_port(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["meter", "detect", "/dev/no-such-port"]) == 2
    assert "plug in the adapter" in capsys.readouterr().err


@contextmanager
def simulated_meter(number: str = METER) -> Iterator[str]:
    """Serve a DL/T 645 meter; yield its port."""
    from datetime import UTC, datetime

    from wallet_app.meter.simulator.dlt645 import Dlt645Meter
    from wallet_app.meter.simulator.home import HomeState
    from wallet_app.meter.simulator.terminal import MeterTerminal

    state = HomeState(datetime(2026, 6, 21, tzinfo=UTC), 0, 500, 0, 0, 1_234_560, 0, 230.0)
    with MeterTerminal(Dlt645Meter(number, lambda: state, reply_delay_s=0.0)) as terminal:
        yield terminal.port


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_detect_finds_a_meter(capsys: pytest.CaptureFixture[str]):
    from datetime import UTC, datetime

    from wallet_app.meter.simulator.home import HomeState
    from wallet_app.meter.simulator.meters import P1Push
    from wallet_app.meter.simulator.terminal import MeterTerminal

    state = HomeState(datetime(2026, 6, 21, tzinfo=UTC), 0, 500, 0, 0, 1000, 0, 230.0)
    meter = P1Push("123456", lambda: state)
    meter.period_s = 0.05
    with MeterTerminal(meter) as terminal:
        assert cli.main(["meter", "detect", terminal.port, "--json"]) == 0
        out = json.loads(capsys.readouterr().out)
        assert out["found"]["protocol"] == "dsmr_p1"
        assert out["found"]["link"] == "115200 8N1"
        assert cli.main(["meter", "detect", terminal.port]) == 0
        text = capsys.readouterr().out
        assert "DSMR P1 at 115200 8N1: meter 123456" in text
        assert f"meter read {terminal.port} --protocol dsmr_p1\n" in text


@pytest.mark.parametrize(
    ("found", "options"),
    [
        (("modbus_rtu", "", "sdm630", False, True, "11", False),
         "--protocol modbus_rtu --profile sdm630 --address 11"),
        (("dlms", "", "", False, True, "1.17", True), "--protocol dlms --address 1.17 --ask"),
        (("iec62056_21", "7", "", True, False), "--protocol iec62056_21 --listen"),
        (("sml", "7", "", True), "--protocol sml"),
    ],
)  # fmt: skip
def test_what_was_found_is_told_as_the_options_that_read_it(found: tuple[Any, ...], options: str):
    protocol, *rest = found
    assert meter._how(Found(protocol, Link(), *rest)) == options


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_test_reports_and_its_capture_decodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from datetime import UTC, datetime

    from wallet_app.meter.simulator.dlt645 import Dlt645Meter
    from wallet_app.meter.simulator.home import HomeState
    from wallet_app.meter.simulator.terminal import MeterTerminal

    state = HomeState(datetime(2026, 6, 21, tzinfo=UTC), 0, 500, 0, 0, 1_234_560, 0, 230.0)
    table, capture = tmp_path / "table.csv", tmp_path / "capture.txt"
    options = ["--polls", "2", "--interval", "0.01", "--csv", str(table), "--json"]
    options += ["--capture", str(capture)]
    with MeterTerminal(Dlt645Meter(METER, lambda: state, reply_delay_s=0.0)) as terminal:
        assert cli.main(["meter", "test", terminal.port, *options]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["meter_ids"] == [METER]
        assert report["values"]["import_kwh"] == "1234.56"
        assert report["bad_frames"] == 0
        assert cli.main(["meter", "test", terminal.port, "--polls", "1"]) == 0
        assert "values import_kwh: 1234.56" in capsys.readouterr().out
    assert table.read_text().count("\n") == 3
    assert cli.main(["meter", "decode", "--protocol", "dlt645", str(capture)]) == 0
    readings = json.loads(capsys.readouterr().out)["readings"]
    assert {"meter_id": METER, "import_kwh": "1234.56"} in readings


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_test_writes_a_document_in_any_language(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with simulated_meter() as port:
        page, document = tmp_path / "report.html", tmp_path / "report.pdf"
        command = ["meter", "test", port, "--polls", "2", "--interval", "0.01"]
        command += ["--html", str(page), "--language", "zh_CN", "--json"]
        if qt_libraries_problem() is None:
            command += ["--pdf", str(document)]
        assert cli.main(command) == 0
    assert json.loads(capsys.readouterr().out)["advice"] == "no fault found on the line"
    assert "电表测试报告" in page.read_text(encoding="utf-8")
    if qt_libraries_problem() is None:
        assert document.read_bytes().startswith(b"%PDF")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_a_document_without_a_window_needs_no_display(tmp_path: Path):
    if qt_libraries_problem():
        pytest.skip("Qt's libraries are missing")
    document = tmp_path / "report.pdf"
    with simulated_meter() as port:
        script = "import sys; from wallet_app.cli import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", script, "meter", "test", port, "--polls", "1"]
        plain = {
            k: v for k, v in os.environ.items() if not k.startswith(("QT_", "DISPLAY", "WAYL"))
        }
        done = subprocess.run(
            [*command, "--pdf", str(document)],
            env=plain,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert document.read_bytes().startswith(b"%PDF")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_raw_shows_what_goes_over_the_line(capsys: pytest.CaptureFixture[str]):
    with simulated_meter() as port:
        assert cli.main(["meter", "read", port, "--raw"]) == 0
        shown = capsys.readouterr().out
        assert "request: read the address" in shown
        assert "1234.56 kWh" in shown
        assert cli.main(["meter", "read", port, "--raw", "--json"]) == 0
    turns = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"sent"' in line]
    assert turns[0]["sent"]
    assert sum(field["length"] for field in turns[0]["fields"]) == len(turns[0]["hex"]) // 2


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_watch_reads_several_ports_at_once(tmp_path: Path):
    with simulated_meter() as first, simulated_meter("7".zfill(12)) as second:
        script = "import sys; from wallet_app.cli import main; sys.exit(main(sys.argv[1:]))"
        places = [first, f"dlt645:{'7'.zfill(12)}@{second}"]
        command = [sys.executable, "-c", script, "meter", "watch", *places]
        with subprocess.Popen(
            [*command, "--interval", "0.05", "--json"], stdout=subprocess.PIPE, text=True
        ) as watching:
            assert watching.stdout is not None
            seen: set[str] = set()
            for line in watching.stdout:
                seen.add(json.loads(line)["meter_id"])
                if len(seen) == 2:
                    break
            watching.send_signal(signal.SIGINT)
            watching.communicate(timeout=30)
    assert seen == {METER, "7".zfill(12)}


def test_one_capture_is_of_one_port(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["meter", "watch", "COM1", "COM2", "--capture", "x"]) == 2
    assert "one port at a time" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_replay_reads_a_capture_as_the_meter_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    capture = tmp_path / "capture.txt"
    with simulated_meter() as port:
        assert cli.main(["meter", "read", port, "--capture", str(capture), "--json"]) == 0
    read = json.loads(capsys.readouterr().out)
    command = ["meter", "replay", str(capture), "--protocol", "dlt645", "--json"]
    assert cli.main(command) == 0
    replayed = json.loads(capsys.readouterr().out)
    assert replayed["origin"] == "replayed"
    same = [key for key in read if key not in ("origin", "host_time")]
    assert {key: replayed[key] for key in same} == {key: read[key] for key in same}
    capture.write_text("no capture at all")
    assert cli.main(command) == 2
    assert "line 1" in capsys.readouterr().err
    assert cli.main([*command, "--speed", "-1"]) == 2


def test_people_are_told_in_their_language(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "request.hex"
    file.write_text("68 AA AA AA AA AA AA 68 13 00 DF 16")
    command = ["meter", "decode", "--protocol", "dlt645", "--explain", str(file)]
    monkeypatch.setenv("PROSUMER_LANG", "zh_CN")
    try:
        assert cli.main(command) == 0
        assert "请求：读取地址" in capsys.readouterr().out
        assert cli.main(["meter", "read", "/dev/none"]) == 1
        assert "没有端口 /dev/none" in capsys.readouterr().err
        assert cli.main([*command, "--json"]) == 0
        assert "read the address" in capsys.readouterr().out
    finally:
        i18n.use_language("en")


def test_decode_explains_every_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "frame.hex"
    file.write_text("FE684592662300106891063334343566556216")
    command = ["meter", "decode", "--protocol", "dlt645", "--explain", str(file)]
    assert cli.main(command) == 0
    assert "Voltage, L1" in capsys.readouterr().out
    assert cli.main([*command, "--json"]) == 0
    fields = json.loads(capsys.readouterr().out)
    assert "".join(field["hex"] for field in fields) == file.read_text().lower()
    file.write_bytes(b"nothing of any protocol")
    assert cli.main([*command, "--raw"]) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--pdf", "/no/such/folder/x.pdf"], "no such folder"),
        (["--polls", "0"], "--polls"),
        (["--interval", "0"], "--interval"),
        (["--address", "twelve"], "meter address"),
        (["--key", "1"], "hex digits"),
        (["--capture", "/no/such/folder/x"], "cannot write"),
    ],
)
def test_test_bad_input(options: list[str], words: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["meter", "test", "/dev/no-such-port", *options]) == 2
    assert words in capsys.readouterr().err


MARKET = {
    "wall": "2026-06-21T00:00:00+00:00",
    "market": "2026-06-21T00:00:00+00:00",
    "rate": 960,
}


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_simulate_serves_a_meter_and_obeys(capsys: pytest.CaptureFixture[str]):
    command = [sys.executable, "-c", "import wallet_app.cli as c; raise SystemExit(c.main())"]
    command += ["meter", "simulate", "--market-time", json.dumps(MARKET), "--pv-kwp", "0"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        first = json.loads(process.stdout.readline())
        assert first["origin"] == "simulated"
        process.stdin.write(b'no json\n{"battery_w": -1200}\n')
        process.stdin.flush()
        assert b"battery command ignored" in process.stderr.readline()
        while (state := json.loads(process.stdout.readline()))["battery_w"] == 0:
            assert state["battery_wh"] == 5000
        assert state["battery_w"] == -1200
        assert state["grid_w"] == pytest.approx(state["house_w"] - 1200, abs=2)
        assert cli.main(["meter", "read", first["port"], "--json"]) == 0
        reading = json.loads(capsys.readouterr().out)
        assert reading["meter_id"] == first["address"]
        assert reading["origin"] == "simulated"
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == 128 + signal.SIGINT


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--home", "castle"], "no home 'castle'"),
        (["--address", "twelve"], "meter address"),
        (["--pv-kwp", "-1"], "negative"),
        (["--battery-kwh", "-1"], "negative"),
        (["--market-time", "{}"], "--market-time"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_simulate_bad_input(options: list[str], words: str, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["meter", "simulate", *options]) == 2
    assert words in capsys.readouterr().err
