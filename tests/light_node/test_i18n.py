"""Everything the light node says can be said in every language, wherever it comes from."""

import copy
import importlib
import inspect
import json
import pickle
import pkgutil
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import light_node
from light_node import i18n
from light_node.chain import audit, errors, quarantine, tracker, witnesses
from light_node.chain.status import Dissent, PeerState
from light_node.fabric.errors import ClockSkewed, FabricError, TimeRefused
from light_node.i18n import NOTHING, SaidError, Text, as_json, from_json, said, told
from tests.sentences import faults, said_in

PACKAGE = Path(light_node.__file__).parent
CHINESE = re.compile("[\u4e00-\u9fff]")

WALKED = ("light_node.chain", "light_node.fabric", "light_node.jsonio")
INWARD = {
    "light_node.chain.conflicts.Elsewhere": "caught by the follower, which says what it carries",
    "light_node.chain.intake.NotStored": "caught by the follower; the problem is noted already",
    "light_node.chain.audit._NotRead": "caught by the audit, which makes a difference of it",
}
"""Exceptions that never leave their package, with the reason why nobody reads them."""


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    yield
    i18n.use_language("en")


def modules(*names: str) -> list[Any]:
    found = []
    for name in names:
        package = importlib.import_module(name)
        found.append(package)
        for entry in pkgutil.iter_modules(getattr(package, "__path__", []), f"{name}."):
            found.append(importlib.import_module(entry.name))
    return found


def exceptions() -> list[type[Exception]]:
    """Every exception class of the light client, the wire and what lies below them."""
    found = {
        value
        for module in modules(*WALKED)
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Exception)
        and value.__module__.startswith(WALKED)
    }
    return sorted(found, key=lambda kind: (kind.__module__, kind.__name__))


def name_of(kind: type[Exception]) -> str:
    return f"{kind.__module__}.{kind.__name__}"


def made(kind: type[Exception]) -> Exception:
    """Make an error with arguments of the kinds that its constructor names."""
    values: dict[Any, Any] = {
        int: 7,
        bytes: b"\x17" * 32,
        str: "Org2MSP",
        Text: Text("the block has no header"),
        tuple[str, ...]: ("Org1MSP",),
    }
    arguments = []
    for parameter in inspect.signature(kind.__init__).parameters.values():
        asked = parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name != "self"
        if asked and parameter.default is parameter.empty:
            arguments.append(values.get(parameter.annotation))
    return kind(*arguments)


def test_every_sentence_is_translated_and_none_is_stale() -> None:
    assert not faults(said_in(PACKAGE), i18n.load_catalogue(i18n.OWN_CATALOGUES, "zh_CN"))


def test_no_exception_carries_bare_words() -> None:
    bare = {name_of(kind) for kind in exceptions() if not issubclass(kind, SaidError)}
    assert bare == set(INWARD)


@pytest.mark.parametrize("kind", [k for k in exceptions() if issubclass(k, SaidError)], ids=name_of)
def test_every_error_is_said_in_chinese(kind: type[Exception]) -> None:
    error = made(kind)
    english = str(error)
    i18n.use_language("zh_CN")
    assert CHINESE.search(said(error)), said(error)
    assert str(error) == english
    assert told(error).kind == kind.__name__


def test_the_walk_reaches_both_trees() -> None:
    known = exceptions()
    for base in (errors.ChainError, FabricError):
        pending = [base]
        while pending:
            kind = pending.pop()
            assert kind in known
            pending += kind.__subclasses__()


def case(kind: Any, evidence: str) -> Callable[[], Text]:
    return lambda: quarantine.Case(7, "2026-06-21T10:00Z", evidence, kind).text


def trackers(*states: PeerState) -> list[Any]:
    class Source:
        kind, address = "peer", "a:1"

        def __init__(self, number: int) -> None:
            self.organization = f"Org{number}MSP"

    return [
        tracker.Tracker(Source(n), state=state, height=9)  # type: ignore[arg-type]
        for n, state in enumerate(states, 1)
    ]


def skewed(ahead: timedelta | None, *states: PeerState) -> list[Any]:
    """Trackers of which those away refuse the time."""
    found = trackers(*states)
    for each in found:
        if each.state is PeerState.UNREACHABLE:
            each.wrong_clock = tracker.WrongClock(ahead)
    return found


AHEAD = [
    timedelta(**{unit: sign * 30}) for unit in ("minutes", "hours", "days") for sign in (1, -1)
]
ON, AWAY = PeerState.CONNECTED, PeerState.UNREACHABLE
SHOWN = [witnesses.Witness(f"Org{n}MSP", "a:1", shows) for n in (1, 2) for shows in witnesses.SHOWS]
STATES: list[Callable[[], Text]] = [
    *(case(kind, file) for kind in get_args(quarantine.Kind) for file in ("", "7-Org2MSP.json")),
    lambda: Dissent("Org2MSP", 7, ("Org1MSP", "Org3MSP")).text,
    lambda: witnesses.in_words(SHOWN),
    lambda: witnesses.in_words(SHOWN[:3]),
    lambda: tracker.waiting_for(trackers(AWAY, AWAY), 0, None),
    lambda: tracker.waiting_for(trackers(ON, ON), 7, 7),
    lambda: tracker.waiting_for(trackers(ON, AWAY), 9, 8),
    lambda: tracker.waiting_for(trackers(ON, PeerState.CONNECTING), 9, 8),
    lambda: tracker.waiting_for(trackers(ON, AWAY, PeerState.DISAGREES), 9, 8),
    lambda: tracker.waiting_for(skewed(None, ON, AWAY), 9, 8),
    lambda: tracker.waiting_for(skewed(None, AWAY, AWAY), 0, None),
    lambda: skewed(None, AWAY)[0].status(0.0, clock_fits=True).error,
    lambda: skewed(None, AWAY)[0].status(0.0, clock_fits=False).error,
    *(lambda ahead=ahead: TimeRefused(400, ahead).text for ahead in AHEAD),
    lambda: ClockSkewed(NOTHING).of_peer("peer0", "Org1MSP").text,
    lambda: ClockSkewed(NOTHING).of_all().text,
    lambda: audit.Difference(7, "ab", "ClearSlot", Text("the result"), "1", Text("missing")).text,
]


@pytest.mark.parametrize("state", STATES)
def test_every_problem_and_state_is_said_in_chinese(state: Callable[[], Text]) -> None:
    english = str(state())
    i18n.use_language("zh_CN")
    chinese = said(state())
    assert CHINESE.search(chinese)
    # Names and figures stay, and no English word is left between them.
    words = chinese.replace("light-node evidence release", "")
    words = re.sub(r"Org\dMSP(\.json)?|ClearSlot|UTC|peer\d", "", words)
    assert not re.search("[A-Za-z]{2,}", words), chinese
    assert str(state()) == english


def test_a_sentence_is_its_english_words_and_knows_its_parts() -> None:
    inner = Text("block {number} has no metadata", number=7)
    text = Text("{msp_id}: {error}", msp_id="Org{1}MSP", error=errors.MalformedBlock(inner))
    assert text == "Org{1}MSP: block 7 has no metadata"
    assert text.fields["error"] == inner
    i18n.use_language("zh_CN")
    assert said(text) == "Org{1}MSP：区块 7 没有元数据"
    assert said("foreign {text}") == "foreign {text}"
    assert said(ValueError("foreign {text}")) == "foreign {text}"
    assert said(KeyError()) == "KeyError"


def test_a_copy_knows_its_parts_too() -> None:
    text = Text("block {number}: {error}", number=7, error=Text("{braces}")).of("Kind")
    for other in (copy.deepcopy(text), pickle.loads(pickle.dumps(text))):
        assert (other, other.template, other.kind) == (text, text.template, "Kind")
        assert other.fields == text.fields


def test_what_the_system_refuses_is_said_too() -> None:
    full = OSError(28, "No space left on device", "/x/headers.bin")
    assert said(full) == "/x/headers.bin: No space left on device"
    i18n.use_language("zh_CN")
    assert said(full) == "/x/headers.bin：磁盘空间不足"
    assert said(OSError(9999, "Odd")) == "Odd"


def test_a_sentence_survives_json_into_another_language() -> None:
    fork = errors.Fork(7, b"\x01" * 32, b"\x02" * 32, "Org2MSP").text
    text = Text("{fork}. {witnesses}", fork=fork, witnesses=witnesses.in_words(SHOWN))
    kept = json.loads(json.dumps({"english": text, "said": as_json(text)}))
    assert kept["english"] == text
    assert kept["said"]["fields"]["fork"]["kind"] == "Fork"
    i18n.use_language("zh_CN")
    assert said(from_json(kept["said"], kept["english"])) == said(text)
    assert said(from_json(as_json(NOTHING), "")) == ""


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["kind", "template", "fields", "what"]), inner, max_size=4
            )
        ),
        max_leaves=8,
    )
)
def test_what_is_no_sentence_of_ours_is_taken_as_plain_text(value: Any) -> None:
    i18n.use_language("zh_CN")
    try:
        assert isinstance(said(from_json(value, "English")), str)
        assert from_json({"template": "{x.__class__}", "fields": {"x": 1}}, "English") == "English"
        assert from_json({"template": "block {number}: {error}", "fields": {}}, "E") == "E"
        deep: Any = "x"
        for _ in range(50):
            deep = {"kind": "", "template": "{what}", "fields": {"what": deep}}
        assert from_json(deep, "English") == "English"
    finally:
        i18n.use_language("en")


def test_values_of_other_kinds_are_fields_as_words() -> None:
    text = Text(
        "the trust root of channel {channel_id} expired on {day}; get a new network profile "
        "from your operator and compare its fingerprint",
        channel_id="market",
        day=datetime(2026, 6, 21, tzinfo=UTC).date(),
    )
    i18n.use_language("zh_CN")
    assert said(text).startswith("通道 market 的信任根已于 2026-06-21 过期")
