"""The user's words for the flags of readings, the reasons of gaps and the states of a session.

Codes stay in the signed records and in JSON; these are for screens and documents.
"""

from wallet_app.i18n import tr
from wallet_app.meter.roles import Role


def flag_words(flag: str) -> str:
    """Return what a flag of the plausibility rules means."""
    return {
        "register_back": tr("the register stepped back"),
        "too_much_energy": tr("more energy than the connection can carry"),
        "tariff_sum": tr("the total is not the sum of the tariffs"),
        "replay": tr("an older telegram was played back"),
        "unproven": tr("no check sum, and no second telegram like it yet"),
        "first": tr("first reading"),
        "new_meter": tr("another meter number"),
        "rolled_over": tr("the register went round through 0"),
        "after_gap": tr("after a gap"),
        "stuck": tr("power flows but the register stands"),
        "phase_sum": tr("the phases do not add up to the total power"),
        "power_energy": tr("power and register disagree"),
        "voltage": tr("an impossible voltage was left out"),
        "frequency": tr("an impossible frequency was left out"),
        "clock_off": tr("the meter's clock is off by more than 2 minutes"),
        "clock_wrong": tr("the meter's clock is off by more than 15 minutes"),
        "clock_invalid": tr("the meter's clock shows no possible time"),
        "clock_jump": tr("this computer's clock jumped"),
        "late": tr("it came late"),
        "not_recorded": tr("it could not be recorded"),
    }.get(flag, flag)


def gap_words(reason: str) -> str:
    """Return why there was no reading for a while."""
    return {
        "the adapter was unplugged": tr("the adapter was unplugged"),
        "no answer from the meter": tr("no answer from the meter"),
        "the computer slept": tr("the computer slept"),
    }.get(reason, reason)


def state_words(state: str) -> tuple[str, str]:
    """Return words and tone (good, warning, error or "") for the state of a session."""
    return {
        "searching": (tr("looking for the meter"), ""),
        "reading": (tr("reading"), "good"),
        "silent": (tr("no answer"), "error"),
        "unplugged": (tr("unplugged"), "error"),
        "error": (tr("the port cannot be opened"), "error"),
        "stopped": (tr("stopped"), ""),
        "none": (tr("no meter"), ""),
    }.get(state, (state, ""))


def role_words(role: Role | None) -> str:
    """Return what a meter is for."""
    return {
        None: tr("not for the wallet"),
        Role.GRID: tr("grid connection"),
        Role.REVERSED: tr("grid connection, wired the other way round"),
        Role.GENERATION: tr("generation behind the grid meter"),
        Role.WATCH: tr("only watched"),
    }[role]


def role_short(role: Role) -> str:
    """Return what a meter is for, in a word."""
    return {
        Role.GRID: tr("grid"),
        Role.REVERSED: tr("grid, reversed"),
        Role.GENERATION: tr("roof"),
        Role.WATCH: tr("watched"),
    }[role]
