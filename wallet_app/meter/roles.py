"""What each meter of a household is for, where there is more than one.

One meter at the grid connection needs no role. With several, a meter counts for trading only if the
user says so; what counts is added up, and what one of them did not measure is not known for all.
"""

from collections.abc import Mapping
from enum import StrEnum

from light_node import jsonio
from wallet_app.i18n import tr

_MOST_METERS = 20


class Role(StrEnum):
    """What a meter is for. Only the first two count for trading."""

    GRID = "grid"  # at the grid connection: what it says is taken and fed in
    REVERSED = "reversed"  # the same, wired the other way round: what it counts forward is fed in
    GENERATION = "generation"  # behind the connection: shown as the roof, already in the sum
    WATCH = "watch"  # recorded and shown, nothing more


COUNTED = (Role.GRID, Role.REVERSED)
LINE_KEYS = frozenset(
    (
        *("port", "protocol", "address", "profile", "link", "mode", "adapter"),
        *("key", "auth_key", "password"),
    )
)
"""What is known about a line, named as its settings without ``meter_`` in front."""


def parse_roles(text: str) -> dict[str, Role]:
    """Read ``{"meter number": "role", …}`` ("" is none); ``ValueError`` for anything else."""
    try:
        found = jsonio.mapping(jsonio.strict_loads(text), "roles") if text.strip() else {}
        return {number: Role(role) for number, role in found.items()}
    except (jsonio.JsonError, ValueError, TypeError) as error:
        known = ", ".join(Role)
        raise ValueError(
            tr("roles are written as an object from meter number to one of {known}", known=known)
        ) from error


def parse_lines(text: str) -> list[dict[str, str]]:
    """Read ``[{"port": …, "protocol": …}, …]`` ("" is none): the wallet's further lines.

    Each has the settings of a meter without ``meter_`` in front. ``ValueError`` for anything else.
    """
    try:
        found = jsonio.strict_loads(text) if text.strip() else []
    except jsonio.JsonError as error:
        raise ValueError(tr("further lines are written as a JSON list of objects")) from error
    if not isinstance(found, list) or len(found) > _MOST_METERS:
        raise ValueError(
            tr("further lines are a JSON list of up to {most} objects", most=_MOST_METERS)
        )
    lines: list[dict[str, str]] = []
    for each in found:
        if not isinstance(each, dict) or not each.get("port") or not set(each) <= LINE_KEYS:
            known = ", ".join(sorted(LINE_KEYS))
            raise ValueError(
                tr('a further line is an object with "port" and some of {known}', known=known)
            )
        if not all(isinstance(value, str) for value in each.values()):
            raise ValueError(tr("everything about a further line is a text"))
        lines.append(dict(each))
    ports = [line["port"] for line in lines]
    if len(set(ports)) < len(ports):
        raise ValueError(tr("meters on one port are one line: name their numbers with commas"))
    return lines


def recorded_id(meter_id: str, protocol: str, place: str) -> str:
    """Return the name a meter on a further line is recorded under.

    Modbus units have no number of their own: unit 1 on two lines are two meters, told apart by
    ``place``, the adapter or port.
    """
    if meter_id and protocol != "modbus_rtu":
        return meter_id
    return f"{meter_id or protocol}@{place}"


def total(parts: Mapping[str, int | None], lacking: frozenset[str]) -> int | None:
    """Add what several meters counted in one direction, by meter; None is not known.

    ``lacking`` names meters that have no such register at all. One that has it and did not say is
    not 0: the sum is unknown then, as it is when none of them has the register.
    """
    known = [value for meter, value in parts.items() if meter not in lacking]
    if not known or None in known:
        return None
    return sum(value for value in known if value is not None)
