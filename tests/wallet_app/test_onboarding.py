"""The set-up's steps without a GUI: what each asks, where it leads, what errors mean."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from light_node.chain.errors import TrustRootExpired, TrustRootMismatch
from light_node.fabric.errors import CaAuthenticationFailed, CaNotFound, CaUnavailable
from light_node.fabric.profile import ProfileError
from wallet_app import i18n, onboarding
from wallet_app.keys.store import KeyPlace, KeyringUnavailable, KeyState
from wallet_app.onboarding import Answers, Step
from wallet_app.settings import SettingsError


@dataclass
class FakeOrganization:
    msp_id: str
    ca: object | None = object()
    peers: tuple[object, ...] = (object(),)


@dataclass
class FakeProfile:
    organizations: tuple[FakeOrganization, ...]


@dataclass
class FakeChecked:
    profile: FakeProfile


def checked(*organizations: FakeOrganization) -> Any:
    return FakeChecked(FakeProfile(organizations or (FakeOrganization("Org1MSP"),)))


WHOLE = Answers(
    language="en",
    profile=checked(),
    compared=True,
    msp_id="Org1MSP",
    enrolment_id="hh-001",
    secret="s3cret",
    key_place=KeyPlace.FILE,
    keyring=KeyState.ABSENT,
    passphrase="correct horse",
    passphrase_again="correct horse",
)


def walk(answers: Answers) -> list[Step]:
    """Go on until a step holds or the end is reached; enrol where that is due."""
    step, seen = onboarding.first(answers.enrolled), []
    while step is not None and step not in seen:
        seen.append(step)
        if onboarding.problem(step, answers) is None and onboarding.enrols_after(step, answers):
            answers = answers.without_secrets()
        step = onboarding.following(step, answers)
    return seen


def test_whole_answers_lead_through_every_step_once() -> None:
    assert walk(WHOLE) == list(Step)
    assert list(onboarding.STEPS) == list(Step)


def test_a_set_up_that_was_interrupted_after_enrolment_goes_on_at_the_household() -> None:
    assert walk(WHOLE.without_secrets()) == [Step.HOUSEHOLD, Step.METER, Step.DONE]


@pytest.mark.parametrize(
    ("changes", "step", "field"),
    [
        ({"language": "xx"}, Step.LANGUAGE, "language"),
        ({"profile": None}, Step.NETWORK, "profile"),
        ({"profile": checked(FakeOrganization("Org1MSP", ca=None))}, Step.NETWORK, "profile"),
        ({"compared": False}, Step.NETWORK, "compared"),
        ({"msp_id": "OtherMSP"}, Step.ORGANISATION, "msp_id"),
        ({"msp_id": ""}, Step.ORGANISATION, "msp_id"),
        ({"enrolment_id": "  "}, Step.ORGANISATION, "enrolment_id"),
        ({"enrolment_id": "a\nb"}, Step.ORGANISATION, "enrolment_id"),
        ({"secret": ""}, Step.ORGANISATION, "secret"),
        ({"key_place": None}, Step.KEY, "key_place"),
        ({"passphrase": "short", "passphrase_again": "short"}, Step.KEY, "passphrase"),
        ({"passphrase": " correct horse"}, Step.KEY, "passphrase"),
        ({"passphrase_again": "correct hors"}, Step.KEY, "passphrase_again"),
        ({"time_zone": "Mars/Olympus"}, Step.HOUSEHOLD, "time_zone"),
        ({"annual_load_wh": 10**12}, Step.HOUSEHOLD, "household"),
    ],
)
def test_each_missing_answer_holds_its_step_and_says_why(
    changes: dict[str, Any], step: Step, field: str
) -> None:
    answers = replace(WHOLE, **changes)
    assert walk(answers)[-1] is step
    problem = onboarding.problem(step, answers)
    assert problem is not None
    assert problem.field == field
    assert problem.text
    assert onboarding.following(step, answers) is step


@pytest.mark.parametrize("state", [None, KeyState.LOCKED, KeyState.ABSENT, KeyState.DENIED])
def test_a_keyring_that_is_not_ready_is_never_passed_over(state: KeyState | None) -> None:
    answers = replace(WHOLE, key_place=KeyPlace.KEYRING, keyring=state)
    problem = onboarding.problem(Step.KEY, answers)
    assert problem is not None
    assert problem.text == onboarding.keyring_text(state)
    ready = replace(answers, keyring=KeyState.READY)
    assert onboarding.problem(Step.KEY, ready) is None


def test_every_keyring_state_has_words_of_its_own() -> None:
    assert len({onboarding.keyring_text(state) for state in (None, *KeyState)}) == 5


def test_there_is_no_way_back_over_the_enrolment() -> None:
    enrolled = WHOLE.without_secrets()
    assert onboarding.before(Step.LANGUAGE, WHOLE) is None
    assert onboarding.before(Step.KEY, WHOLE) is Step.ORGANISATION
    assert onboarding.before(Step.HOUSEHOLD, enrolled) is None
    assert onboarding.before(Step.METER, enrolled) is Step.HOUSEHOLD
    assert onboarding.before(Step.DONE, enrolled) is None


def test_enrolling_happens_once_and_settings_are_saved_after_the_meter() -> None:
    assert [s for s in Step if onboarding.enrols_after(s, WHOLE)] == [Step.KEY]
    assert not [s for s in Step if onboarding.enrols_after(s, WHOLE.without_secrets())]
    assert [s for s in Step if onboarding.saves_after(s)] == [Step.METER]


def test_secrets_show_in_no_text_and_are_gone_after_enrolling() -> None:
    for text in (repr(WHOLE), repr(WHOLE.enrolment())):
        assert "s3cret" not in text
        assert "correct horse" not in text
    after = WHOLE.without_secrets()
    assert (after.secret, after.passphrase, after.passphrase_again) == ("", "", "")


def test_blanks_around_copied_answers_do_not_matter() -> None:
    enrolment = replace(WHOLE, enrolment_id=" hh-001 ", secret="s3cret\n").enrolment()
    assert (enrolment.enrolment_id, enrolment.secret) == ("hh-001", "s3cret")


def test_the_household_becomes_settings() -> None:
    answers = replace(WHOLE, time_zone="Europe/Berlin", pv_peak_w=0, meter_port=" /dev/ttyUSB0 ")
    settings = answers.settings()
    assert settings["time_zone"] == "Europe/Berlin"
    assert settings["pv_peak_w"] == 0
    assert settings["meter_port"] == "/dev/ttyUSB0"
    with pytest.raises(SettingsError):
        replace(WHOLE, pv_peak_w=-1).settings()


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (CaAuthenticationFailed("x"), Step.ORGANISATION),
        (CaNotFound("x"), Step.ORGANISATION),
        (KeyringUnavailable(KeyState.DENIED, "x"), Step.KEY),
        (TrustRootMismatch("x"), Step.NETWORK),
        (TrustRootExpired("x"), Step.NETWORK),
        (ProfileError("x"), Step.NETWORK),
        (CaUnavailable("x"), Step.KEY),
        (OSError(28, "No space left on device"), Step.KEY),
    ],
)
def test_an_error_leads_to_the_step_where_it_can_be_mended(error: Exception, step: Step) -> None:
    assert onboarding.step_of(error, Step.KEY) is step


def test_every_step_has_words_in_both_languages() -> None:
    try:
        for code in i18n.LANGUAGES:
            i18n.use_language(code)
            texts = [onboarding.title(s) for s in Step] + [onboarding.explanation(s) for s in Step]
            assert len(set(texts)) == 2 * len(Step)
    finally:
        i18n.use_language("en")
    assert onboarding.position(Step.DONE) == (7, 7)
