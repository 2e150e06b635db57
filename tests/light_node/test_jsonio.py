"""Strict reading and canonical writing of JSON."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from light_node import jsonio
from light_node.jsonio import JsonError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_canonical_bytes_are_read_back_and_written_alike(value: object) -> None:
    data = jsonio.canonical_dumps(value)
    assert jsonio.strict_loads(data) == value
    assert jsonio.canonical_dumps(jsonio.strict_loads(data)) == data


def test_canonical_form_does_not_depend_on_insertion_order() -> None:
    assert jsonio.canonical_dumps({"b": 1, "a": "价"}) == '{"a":"价","b":1}'.encode()


@pytest.mark.parametrize("value", [1.5, [1, {"x": 0.1}], float("nan"), {1: 2}])
def test_fractions_and_odd_keys_are_never_written(value: object) -> None:
    with pytest.raises(JsonError):
        jsonio.canonical_dumps(value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1, column 2"),
        ('{"a":1,"a":2}', "twice"),
        ("[NaN]", "NaN"),
        ("[Infinity]", "Infinity"),
        (b"\xff\xfe", "not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "9" * 5_000 + "]", "too many digits"),
        ('{"a\\nb":1,"a\\nb":2}', r"'a\\nb' appears twice"),
    ],
)
def test_bad_text_is_refused_with_the_place_or_the_reason(text: str | bytes, says: str) -> None:
    with pytest.raises(JsonError, match=says):
        jsonio.strict_loads(text)


def test_a_byte_order_mark_is_harmless() -> None:
    assert jsonio.strict_loads(b"\xef\xbb\xbf[1]") == [1]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1.0, "must be an integer, not the fraction 1.0"),
        (True, "not a truth value"),
        ("1", "not a string"),
        (None, "not null"),
        (-1, "at least 0"),
        (11, "at most 10"),
        (10**1_000, "is a number of more than 30 digits; it must be at most 10"),
    ],
)
def test_integers_are_integers_within_bounds(value: object, says: str) -> None:
    with pytest.raises(JsonError, match=says):
        jsonio.integer({"n": value}, "n", low=0, high=10)


def test_missing_fields_are_named() -> None:
    with pytest.raises(JsonError, match='"n" is missing'):
        jsonio.integer({}, "n")
    with pytest.raises(JsonError, match="must be an array, not an object"):
        jsonio.array({"a": {}}, "a")
    with pytest.raises(JsonError, match="the book must be a JSON object, not an array"):
        jsonio.mapping([], "the book")
    with pytest.raises(JsonError, match="1 to 3 characters"):
        jsonio.string({"s": "long"}, "s", max_length=3)
