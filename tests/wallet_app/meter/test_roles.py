"""What each of several meters is for, and sums in which nothing missing becomes 0."""

import pytest

from wallet_app.meter.roles import Role, parse_lines, parse_roles, recorded_id, total


def test_sums_of_what_is_known_only():
    assert total({"a": 5, "b": 7}, frozenset()) == 12
    assert total({"a": 5, "b": None}, frozenset()) is None
    assert total({"a": 5, "b": None}, frozenset("b")) == 5
    assert total({"a": None, "b": None}, frozenset("ab")) is None
    assert total({}, frozenset()) is None


def test_roles_and_lines_are_read():
    assert parse_roles("") == {}
    assert parse_roles('{"12": "grid", "7": "watch"}') == {"12": Role.GRID, "7": Role.WATCH}
    assert parse_lines(" ") == []
    assert parse_lines('[{"port": "COM5", "protocol": "sml"}]') == [
        {"port": "COM5", "protocol": "sml"}
    ]


@pytest.mark.parametrize("text", ["[1]", "{", '{"12": "boss"}', '{"12": 1}', '{"12": null}'])
def test_what_are_no_roles(text: str):
    with pytest.raises(ValueError, match="roles are written"):
        parse_roles(text)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[",
        "[5]",
        '[{"protocol": "sml"}]',
        '[{"port": 5}]',
        '[{"port": "COM5", "relay": "off"}]',
        '[{"port": "COM5"}, {"port": "COM5"}]',
        str([{"port": f"COM{n}"} for n in range(21)]).replace("'", '"'),
    ],
)
def test_what_are_no_lines(text: str):
    with pytest.raises(ValueError, match="line"):
        parse_lines(text)


def test_meters_without_a_number_are_told_apart_by_their_line():
    assert recorded_id("sdm120-unit-1", "modbus_rtu", "COM5") == "sdm120-unit-1@COM5"
    assert recorded_id("", "sml", "COM5") == "sml@COM5"
    assert recorded_id("202611200001", "dlt645", "COM5") == "202611200001"
