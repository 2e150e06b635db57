"""Arguments of the contract: bounded, typed, and nothing beside what is asked for.

Whatever comes in was written by somebody else; ``BAD_INPUT`` names the field that is wrong.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from light_node import jsonio
from light_node.contract.caller import Caller
from light_node.contract.errors import Code, ContractError
from light_node.contract.stub import Invocation
from light_node.market.errors import InvalidSlot
from light_node.market.quotes import Side, fault_of_id
from light_node.market.slots import Slot, parse

MAX_ARGUMENT_BYTES = 16 * 1024
MAX_ROUNDS = 9
"""Most quoting rounds of a slot: a round is one digit in keys, so keys sort as numbers do."""

# Fixed ranges, not str.isprintable(): every peer has to accept and refuse the same text.
_UNUSABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\U0010ffff]")
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}Z(/PT[0-9]{1,4}M)?")


@dataclass(frozen=True, slots=True)
class Text:
    """A string of ``shortest`` to ``longest`` characters without control characters."""

    longest: int
    shortest: int = 1

    def read(self, name: str, value: object) -> str:
        """Return ``value``; ``BAD_INPUT`` unless it fits."""
        if not isinstance(value, str) or not self.shortest <= len(value) <= self.longest:
            raise bad_input(
                f'"{name}" must be text of {self.shortest} to {self.longest} characters'
            )
        if _UNUSABLE.search(value):
            raise bad_input(f'"{name}" must not hold control characters')
        return value


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer from ``low`` to ``high``."""

    low: int
    high: int

    def read(self, name: str, value: object) -> int:
        """Return ``value``; ``BAD_INPUT`` unless it fits."""
        # A truth value is an int to Python, and 1.0 == 1: neither is an integer here.
        if type(value) is not int or not self.low <= value <= self.high:
            raise bad_input(f'"{name}" must be an integer from {self.low} to {self.high}')
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def read(self, name: str, value: object) -> bool:
        """Return ``value``; ``BAD_INPUT`` unless it is a truth value."""
        if not isinstance(value, bool):
            raise bad_input(f'"{name}" must be true or false')
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, name: str, value: object) -> str:
        """Return ``value``; ``BAD_INPUT`` unless it is one of the words."""
        if not isinstance(value, str) or value not in self.words:
            raise bad_input(f'"{name}" must be one of {", ".join(self.words)}')
        return value


Field = Text | Integer | Flag | Choice

SLOT = Text(32)
PARTICIPANT = Text(256)
SIDE = Choice(tuple(side.value for side in Side))
SIGNATURE = Text(256)
ROUND = Integer(1, MAX_ROUNDS)


def bad_input(text: str) -> ContractError:
    """Return the refusal of an unusable argument."""
    return ContractError(Code.BAD_INPUT, text)


def arguments(invocation: Invocation, least: int, most: int | None = None) -> list[str]:
    """Return the arguments after the function's name as text, ``least`` to ``most`` of them."""
    given = invocation.args[1:]
    most = least if most is None else most
    if not least <= len(given) <= most:
        expected = str(least) if least == most else f"{least} to {most}"
        raise bad_input(f"{expected} argument(s) expected, {len(given)} given")
    for position, argument in enumerate(given, 1):
        if len(argument) > MAX_ARGUMENT_BYTES:
            raise bad_input(f"argument {position} is longer than {MAX_ARGUMENT_BYTES} bytes")
    try:
        return [argument.decode() for argument in given]
    except UnicodeDecodeError:
        raise bad_input("the arguments must be UTF-8 text") from None


def json_argument(invocation: Invocation, fields: Mapping[str, Field]) -> dict[str, Any]:
    """Return the only argument, a JSON object of exactly these ``fields``."""
    (text,) = arguments(invocation, 1)
    try:
        value = jsonio.mapping(jsonio.strict_loads(text), "the argument")
    except jsonio.JsonError as error:
        # The text may quote a key, and halves of surrogates in it could not be sent back.
        raise bad_input(ascii(str(error)[:200])[1:-1]) from None
    if value.keys() != fields.keys():
        unknown = sorted(value.keys() - fields.keys())
        if unknown:
            raise bad_input(f"unknown field {unknown[0][:64]!a}; fields are {', '.join(fields)}")
        raise bad_input(f'"{min(fields.keys() - value.keys())}" is missing')
    return {name: field.read(name, value[name]) for name, field in fields.items()}


@lru_cache(1024)
def slot_of(text: str) -> Slot:
    """Return the slot of this id; ``BAD_INPUT`` unless it is canonical."""
    try:
        return parse(text)
    except InvalidSlot as error:
        raise bad_input(str(error)) from None


def round_of(text: str) -> int:
    """Return a round number given as a plain argument."""
    if len(text) != 1 or not "1" <= text <= str(MAX_ROUNDS):
        raise bad_input(f"a round is a number from 1 to {MAX_ROUNDS}")
    return int(text)


def participant_of(text: str) -> str:
    """Return a participant id given as a plain argument."""
    fault = fault_of_id(text)
    if fault or "\U0010ffff" in text:
        raise bad_input(f"a participant id {fault or 'must not hold U+10FFFF'}")
    return text


def after_of(given: Sequence[str]) -> str:
    """Return the participant id a page begins after, from an optional argument; "" if none."""
    return participant_of(given[0]) if given and given[0] else ""


def instant_of(text: str) -> str:
    """Return a time as slot ids begin with it, from ``2026-06-21T10:00Z`` or a slot id."""
    if not _INSTANT.fullmatch(text):
        raise bad_input("times look like 2026-06-21T10:00Z; a slot id stands for its start")
    return text[: len("2026-06-21T10:00Z")]


def check_signature(caller: Caller, given: Mapping[str, Any]) -> None:
    """Raise ``BAD_SIGNATURE`` unless ``signature`` is the caller's over all the other fields.

    What is signed is the canonical JSON of the object without ``signature``; the signature is
    Base64 of what Fabric accepts for the key (ECDSA-SHA256 with low S, or Ed25519).
    """
    try:
        signature = base64.b64decode(given["signature"], validate=True)
    except (binascii.Error, ValueError):
        raise ContractError(Code.BAD_SIGNATURE, "the signature is not Base64") from None
    message = signed_bytes(given, given)
    if not caller.verify(signature, message):
        raise ContractError(
            Code.BAD_SIGNATURE,
            "the signature must be the caller's over the canonical JSON of the other fields",
        )


def signed_bytes(record: Mapping[str, Any], names: Iterable[str]) -> bytes:
    """Return what a signature covers: of ``record`` the fields ``names`` but the signature."""
    return jsonio.canonical_dumps({name: record[name] for name in names if name != "signature"})
