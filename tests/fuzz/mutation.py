"""Changes to bytes that keep their structure: protobuf fields, JSON values, else single bytes.

Flipped bytes mostly end at the first length or bracket. A mutation that changes one field deep
inside and mends the lengths around it reaches what reads that field.
"""

import json
import random
from collections.abc import Callable
from typing import Any

from light_node.fabric.block import varint

_LONGEST = 200_000
_DEEPEST = 12
_NUMBERS = (0, 1, 2, 127, 128, 2**31 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 2**53, 2**70, "", "x" * 5000, "\u0000", "\ud7ff", "0", [], {},
    [[]], {"a": {}}, [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]],
)  # fmt: skip

Mutator = Callable[[random.Random, bytes], bytes]


def flat(pick: random.Random, data: bytes) -> bytes:
    """Change one to four bytes or pieces, wherever."""
    result = bytearray(data)
    for _ in range(pick.choice((1, 1, 2, 4))):
        at, kind = pick.randrange(len(result) + 1), pick.randrange(6)
        if kind == 0 and at < len(result):
            result[at] ^= 1 << pick.randrange(8)
        elif kind == 1 and at < len(result):
            result[at] = pick.choice((0, 1, 0x7F, 0x80, 0xFF, pick.randrange(256)))
        elif kind == 2:
            del result[at : at + pick.choice((1, 2, 16))]
        elif kind == 3:
            result[at:at] = pick.randbytes(pick.choice((1, 2, 16)))
        elif kind == 4:
            result[at:at] = result[at : at + pick.choice((1, 8, 64))]
        else:
            del result[at:]
    return bytes(result[:_LONGEST])


def wire(pick: random.Random, data: bytes, depth: int = 0) -> bytes:
    """Change one field of a protobuf message, as deep inside as it comes; lengths fit."""
    fields = _split(data) if depth < _DEEPEST else None
    if not fields or pick.random() < 0.05:
        return flat(pick, data)
    at = pick.randrange(len(fields))
    tag, kind, value = fields[at]
    way = pick.random()
    if kind == 2 and way < 0.7:
        fields[at] = (tag, kind, wire(pick, value, depth + 1))
    elif way < 0.76:
        fields[at] = (tag, *_other_value(pick, kind))
    elif way < 0.82:
        del fields[at]
    elif way < 0.88:
        fields.insert(pick.randrange(len(fields) + 1), fields[at])
    elif way < 0.92:
        other = pick.randrange(len(fields))
        fields[at], fields[other] = fields[other], fields[at]
    elif way < 0.96:
        fields.append((pick.choice((1, 2, 3, 7, 15, 16, 2**29 - 1)), *_other_value(pick, 2)))
    else:
        fields[at] = (pick.choice((1, 2, 3, 4, 5, 6, 9)), kind, value)
    return b"".join(_field(*field) for field in fields)[:_LONGEST]


def json_value(pick: random.Random, data: bytes) -> bytes:
    """Change one value, key or element of a JSON document; now and then its bytes."""
    try:
        value = json.loads(data)
    except ValueError:
        return flat(pick, data)
    if pick.random() < 0.1:
        return flat(pick, data)
    places = list(_places(value))
    if not places:
        return json.dumps(pick.choice(_VALUES)).encode()
    holder, key = pick.choice(places)
    way = pick.random()
    if way < 0.6:
        holder[key] = _changed(pick, holder[key])
    elif way < 0.75:
        del holder[key]
    elif way < 0.9 and isinstance(holder, dict):
        holder[pick.choice(("", "version", "x", str(key) + "x"))] = holder[key]
    else:
        holder[key] = [holder[key]] * pick.choice((2, 3, 2000))
    return json.dumps(value).encode("utf-8", "surrogatepass")[:_LONGEST]


def _changed(pick: random.Random, value: Any) -> Any:
    if isinstance(value, str) and value and pick.random() < 0.6:
        return flat(pick, value.encode("utf-8", "replace")).decode("utf-8", "replace")
    if isinstance(value, int) and pick.random() < 0.6:
        return value + pick.choice((-1, 1, 256, -(2**40)))
    return pick.choice(_VALUES)


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _split(data: bytes) -> list[tuple[int, int, Any]] | None:
    """Return (field number, wire type, value) of each field; None if this is no message."""
    fields: list[tuple[int, int, Any]] = []
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key is None or key >> 3 == 0:
            return None
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            if value is None:
                return None
            fields.append((number, kind, value))
        elif kind == 2:
            size, at = _varint(data, at)
            if size is None or at + size > len(data):
                return None
            fields.append((number, kind, data[at : at + size]))
            at += size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            if at + size > len(data):
                return None
            fields.append((number, kind, data[at : at + size]))
            at += size
        else:
            return None
    return fields


def _other_value(pick: random.Random, kind: int) -> tuple[int, Any]:
    if kind == 0:
        return kind, pick.choice(_NUMBERS)
    if kind == 2:
        return kind, pick.choice((b"", b"\0", b"\xff" * 40, pick.randbytes(32), b"\x08\x01" * 200))
    return kind, pick.randbytes(8 if kind == 1 else 4)


def _field(number: int, kind: int, value: Any) -> bytes:
    head = varint(number << 3 | kind)
    if kind == 0:
        return head + varint(value)
    return head + (varint(len(value)) if kind == 2 else b"") + value


def _varint(data: bytes, at: int) -> tuple[int | None, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            return None, at
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    return None, at
