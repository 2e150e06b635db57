"""JSON as the ledger and the commands use it: strict on reading, canonical on writing.

Canonical form: UTF-8, keys sorted, no white space, integers only. Every machine that serializes
the same value gets the same bytes, which is what signatures and endorsements compare.
"""

import json
from collections.abc import Mapping
from typing import Any

from light_node.i18n import SaidError, Text, plain


class JsonError(SaidError, ValueError):
    """The text is not JSON as this program accepts it; the message says what to change."""


def canonical_dumps(value: Any) -> bytes:
    """Serialize ``value`` canonically; ``JsonError`` if it holds a float or NaN."""
    if not _is_plain(value):
        _refuse_floats(value, "$")
    return _CANONICAL.encode(value).encode()


def strict_loads(text: str | bytes) -> Any:
    """Parse JSON, refusing duplicate keys, NaN and infinities, and text that is not UTF-8.

    Floats are kept as floats: whether an integer belongs there is for the reader of the field to
    say (see :func:`integer`), so that the message can name the field.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        if text.startswith("\ufeff"):
            raise JsonError(Text("not valid JSON: it begins with a byte order mark"))
        return _STRICT.decode(text)
    except UnicodeDecodeError as error:
        raise JsonError(Text("not UTF-8 text (byte {start})", start=error.start)) from error
    except json.JSONDecodeError as error:
        raise JsonError(
            Text(
                "not valid JSON: {msg} at line {lineno}, column {colno}",
                msg=error.msg,
                lineno=error.lineno,
                colno=error.colno,
            )
        ) from error
    except RecursionError as error:
        raise JsonError(Text("not usable JSON: nested too deeply")) from error
    except JsonError:
        raise
    except ValueError as error:
        # Python refuses to convert integers of thousands of digits; so do we.
        raise JsonError(Text("not usable JSON: a number has too many digits")) from error


def integer(
    fields: Mapping[str, Any], name: str, *, low: int | None = None, high: int | None = None
) -> int:
    """Return the integer field ``name``; ``JsonError`` if missing, not an integer or outside."""
    value = required(fields, name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise JsonError(
            Text('"{name}" must be an integer, not {found}', name=name, found=_kind(value))
        )
    if low is not None and value < low:
        raise JsonError(
            Text(
                '"{name}" is {value}; it must be at least {low}',
                name=name,
                value=_short(value),
                low=low,
            )
        )
    if high is not None and value > high:
        raise JsonError(
            Text(
                '"{name}" is {value}; it must be at most {high}',
                name=name,
                value=_short(value),
                high=high,
            )
        )
    return value


def string(fields: Mapping[str, Any], name: str, *, max_length: int = 4096) -> str:
    """Return the string field ``name``; ``JsonError`` if missing, empty, too long or no string."""
    value = required(fields, name)
    if not isinstance(value, str):
        raise JsonError(
            Text('"{name}" must be a string, not {found}', name=name, found=_kind(value))
        )
    if not value or len(value) > max_length:
        raise JsonError(
            Text(
                '"{name}" must have 1 to {max_length} characters', name=name, max_length=max_length
            )
        )
    return value


def array(fields: Mapping[str, Any], name: str) -> list[Any]:
    """Return the array field ``name``; ``JsonError`` if missing or not an array."""
    value = required(fields, name)
    if not isinstance(value, list):
        raise JsonError(
            Text('"{name}" must be an array, not {found}', name=name, found=_kind(value))
        )
    return value


def mapping(value: Any, what: str) -> dict[str, Any]:
    """Return ``value`` as an object; ``JsonError`` naming ``what`` if it is anything else."""
    if not isinstance(value, dict):
        raise JsonError(
            Text("{what} must be a JSON object, not {found}", what=what, found=_kind(value))
        )
    return value


def required(fields: Mapping[str, Any], name: str) -> Any:
    """Return field ``name`` of any type; ``JsonError`` if it is missing."""
    try:
        return fields[name]
    except KeyError:
        raise JsonError(Text('"{name}" is missing', name=name)) from None


def _kind(value: Any) -> Text:
    if value is None:
        return plain("null")
    if isinstance(value, float):
        return Text("the fraction {value}", value=repr(value))
    return _KINDS.get(type(value), Text("a number"))


def _short(value: int) -> str:
    # Messages stay one readable line, also when a file holds a number of a thousand digits.
    return str(value) if abs(value) < 10**30 else Text("a number of more than 30 digits")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise JsonError(Text("the key {key} appears twice in one object", key=ascii(key[:40])))
        result[key] = value
    return result


def _no_constant(name: str) -> Any:
    raise JsonError(Text("{name} is not a number this program accepts", name=name))


def _is_plain(value: Any) -> bool:
    """Tell whether all is of exactly the types that can be serialized; the usual case, fast."""
    kind = type(value)
    if kind is dict:
        if not _KEYS.issuperset(map(type, value)):
            return False
        value = value.values()
    elif kind is not list and kind is not tuple:
        return kind in _PLAIN
    return _PLAIN.issuperset(map(type, value)) or all(map(_is_plain, value))


def _refuse_floats(value: Any, where: str) -> None:
    if isinstance(value, float):
        raise JsonError(
            Text(
                "{where} is the fraction {value}; only integers are serialized",
                where=where,
                value=repr(value),
            )
        )
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise JsonError(
                    Text(
                        "{where} has a key that is not a string: {key}", where=where, key=repr(key)
                    )
                )
            _refuse_floats(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_floats(item, f"{where}[{index}]")


_KINDS: Mapping[type, Text] = {
    dict: Text("an object"),
    list: Text("an array"),
    str: Text("a string"),
    bool: Text("a truth value"),
}
_KEYS = frozenset({str})
_PLAIN = frozenset({str, int, bool, type(None)})
# Made once: json.dumps and json.loads make new ones for every call with such options.
_CANONICAL = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)
_STRICT = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
