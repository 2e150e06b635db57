"""Port names, adapter identities, and messages that say what to do."""

import errno
import os
import sys
from dataclasses import dataclass

import pytest
import serial

if sys.platform != "win32":
    import tty

from wallet_app.meter.ports import (
    Link,
    PortError,
    PortInfo,
    explain,
    find_again,
    open_port,
    ports,
)


@dataclass
class Entry:
    """What ``serial.tools.list_ports`` gives."""

    device: str
    vid: int | None = None
    pid: int | None = None
    serial_number: str | None = None
    location: str | None = None
    product: str | None = None
    description: str = "n/a"


def test_adapters_come_first_and_are_known_by_number_or_place():
    found = ports(
        lambda: [
            Entry("/dev/rfcomm0"),
            Entry("/dev/ttyUSB1", 0x1A86, 0x7523, None, "1-2", "USB Serial"),
            Entry("/dev/ttyUSB0", 0x0403, 0x6001, "A50285BI", "1-1", "FT232R"),
        ]
    )
    assert [p.device for p in found] == ["/dev/ttyUSB0", "/dev/ttyUSB1", "/dev/rfcomm0"]
    assert [p.identity for p in found] == ["0403:6001:A50285BI", "1a86:7523:at 1-2", ""]
    assert found[0].name == "FT232R FTDI"
    assert not found[2].likely


def test_an_adapter_is_found_under_its_new_name():
    known = [PortInfo("/dev/ttyUSB1", "", "0403:6001:A", True)]
    assert find_again("/dev/ttyUSB0", "0403:6001:A", known) == "/dev/ttyUSB1"
    assert find_again("/dev/ttyUSB0", "0403:6001:B", known) == "/dev/ttyUSB0"
    assert find_again("/dev/ttyUSB0", "", known) == "/dev/ttyUSB0"


def test_adapters_with_one_number_are_told_apart_by_their_place():
    found = ports(
        lambda: [
            Entry("/dev/ttyUSB0", 0x10C4, 0xEA60, "0001", "1-1", "CP2102"),
            Entry("/dev/ttyUSB1", 0x10C4, 0xEA60, "0001", "1-2", "CP2102"),
        ]
    )
    assert [p.identity for p in found] == ["10c4:ea60:0001 at 1-1", "10c4:ea60:0001 at 1-2"]


def test_another_adapter_under_the_old_name_is_not_read():
    known = [PortInfo("/dev/ttyUSB0", "", "0403:6001:B", True)]
    with pytest.raises(PortError, match="another adapter"):
        find_again("/dev/ttyUSB0", "0403:6001:A", known)


def test_missing_port():
    with pytest.raises(PortError, match="there is no port /dev/no-port: plug in"):
        open_port("/dev/no-port", Link())


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_busy_port():
    master, slave = os.openpty()
    name = os.ttyname(slave)
    held = open_port(name, Link())
    try:
        with pytest.raises(PortError, match="in use: another program"):
            open_port(name, Link())
    finally:
        held.close()
        os.close(master)
        os.close(slave)


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_a_port_reads_what_is_there_and_says_when_it_is_gone():
    master, slave = os.openpty()
    tty.setraw(slave)
    port = open_port(os.ttyname(slave), Link())
    os.close(slave)
    assert port.write(b"ask") == 3
    assert os.read(master, 10) == b"ask"
    os.write(master, b"answer")
    assert port.read(100, 5.0) == b"answer"
    assert port.read(100, 0.01) == b""
    os.close(master)  # pulled out
    with pytest.raises((serial.SerialException, OSError)):
        port.read(100, 5.0)
    port.close()
    with pytest.raises(serial.SerialException, match="closed"):
        port.read(1, 0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="groups are POSIX")
def test_no_permission_names_the_group_and_the_command(tmp_path):
    device = tmp_path / "ttyUSB0"
    device.touch()
    text = explain(str(device), serial.SerialException(errno.EACCES, "could not open port"))
    assert "sudo usermod -aG" in text
    assert "log out and in again" in text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (serial.SerialException("could not open port 'COM5': Access is denied."), "in use"),
        (serial.SerialException(errno.EIO, "gone"), "unplug the adapter"),
        (ValueError("Not a valid baudrate"), "another speed"),
    ],
)
def test_other_failures(error: Exception, words: str):
    assert words in explain("COM5", error)


def test_time_of_a_byte():
    assert Link(2400, 8, "E", 1).byte_s == pytest.approx(11 / 2400)
    assert str(Link(9600, 8, "N", 1)) == "9600 8N1"
