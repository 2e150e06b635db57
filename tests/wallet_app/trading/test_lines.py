"""Which settings say what a meter is for, as the Meters page changes them."""

from wallet_app.meter.desk import Connection, LineView, MeterView
from wallet_app.meter.dialogue import Options
from wallet_app.meter.roles import Role
from wallet_app.meter.session import MeterStatus
from wallet_app.settings import Settings
from wallet_app.trading.lines import Meter, adopted, assigned, role_of

STATUS = MeterStatus("reading", "COM5", "")


def line(port: str, *numbers: str, own: bool = False, protocol: str = "dlt645") -> LineView:
    options = Options(address=",".join(numbers) if len(numbers) > 1 else numbers[0])
    meters = tuple(MeterView(number) for number in numbers)
    return LineView(port, Connection(port, protocol, options), STATUS, own=own, meters=meters)


def test_the_first_meter_needs_no_role() -> None:
    main = line("COM5", "12")
    settings = Settings().changed(**assigned(Settings(), [main], main, "12", Role.GRID))
    assert (settings["meter_port"], settings["meter_roles"]) == ("COM5", "")
    assert role_of(settings, main.connection, "12") is None


def test_a_further_meter_makes_the_role_of_the_first_one_explicit() -> None:
    main, roof = line("COM5", "12", own=True), line("COM6", "77")
    settings = Settings().changed(**adopted(Settings(), [main], main))
    settings = settings.changed(**assigned(settings, [main, roof], roof, "77", Role.GENERATION))
    assert role_of(settings, main.connection, "12") is Role.GRID
    assert role_of(settings, roof.connection, "77") is Role.GENERATION
    (further,) = Meter.further(settings)
    assert (further.port, further.protocol, further.address) == ("COM6", "dlt645", "77")
    # Taken away again, everything is as it was.
    settings = settings.changed(**assigned(settings, [main, roof], roof, "77", None))
    assert (settings["meter_roles"], settings["meter_lines"]) == ("", "")


def test_units_on_one_line_have_a_role_each() -> None:
    main = line("COM5", "1", "2", "3", own=True, protocol="modbus_rtu")
    settings = Settings().changed(**adopted(Settings(), [main], main))
    settings = settings.changed(**assigned(settings, [main], main, "3", Role.WATCH))
    roles = [role_of(settings, main.connection, number) for number in "123"]
    assert roles == [Role.GRID, Role.GRID, Role.WATCH]


def test_a_line_is_kept_as_long_as_one_of_its_meters_has_a_role() -> None:
    main = line("COM5", "9", own=True)
    bus = line("COM6", "1", "2", protocol="modbus_rtu")
    settings = Settings().changed(**adopted(Settings(), [main], main))
    for number in "12":
        settings = settings.changed(**assigned(settings, [main, bus], bus, number, Role.GRID))
    settings = settings.changed(**assigned(settings, [main, bus], bus, "1", None))
    assert len(Meter.further(settings)) == 1
    settings = settings.changed(**assigned(settings, [main, bus], bus, "2", None))
    assert Meter.further(settings) == []


def test_another_main_meter_takes_the_place_of_the_old_one() -> None:
    main, roof = line("COM5", "12", own=True), line("COM6", "77")
    settings = Settings().changed(**adopted(Settings(), [main], main))
    settings = settings.changed(**assigned(settings, [main, roof], roof, "77", Role.GENERATION))
    new = line("COM7", "13")
    settings = settings.changed(**adopted(settings, [main, roof, new], new))
    assert settings["meter_port"] == "COM7"
    assert role_of(settings, new.connection, "13") is Role.GRID
    assert "12" not in settings["meter_roles"]
    assert role_of(settings, roof.connection, "77") is Role.GENERATION
