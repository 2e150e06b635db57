"""Setting a wallet up, step by step, without a GUI: what each step asks, and where it leads.

Steps are data: :data:`STEPS` names each with the check that its answers must pass. Navigation is
pure: answers in, next step or problems out. The window and the tests use nothing else. Between
``KEY`` and ``HOUSEHOLD`` the wallet is enrolled, which the caller does; from then on there is no
way back over it, and a set-up that was interrupted goes on at ``HOUSEHOLD``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from light_node.chain.errors import TrustRootExpired, TrustRootMismatch
from light_node.fabric.errors import CaAuthenticationFailed, CaNotFound
from light_node.fabric.profile import ProfileError
from wallet_app import i18n
from wallet_app.i18n import tr
from wallet_app.keys.store import KeyPlace, KeyState, KeyStoreError
from wallet_app.settings import Settings, SettingsError
from wallet_app.wallets import (
    MIN_PASSPHRASE,
    CheckedProfile,
    Enrolment,
    enrolling_organizations,
)


class Step(StrEnum):
    """The steps in their order."""

    LANGUAGE = "language"
    NETWORK = "network"
    ORGANISATION = "organisation"
    KEY = "key"
    HOUSEHOLD = "household"
    METER = "meter"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything said so far. Energies in Wh, powers in W; ``compared`` is the trust root's."""

    language: str = ""
    profile: CheckedProfile | None = None
    compared: bool = False
    msp_id: str = ""
    enrolment_id: str = ""
    secret: str = field(default="", repr=False)
    key_place: KeyPlace | None = None
    keyring: KeyState | None = None
    passphrase: str = field(default="", repr=False)
    passphrase_again: str = field(default="", repr=False)
    enrolled: bool = False
    time_zone: str = "Asia/Shanghai"
    pv_peak_w: int = 5_000
    battery_capacity_wh: int = 0
    annual_load_wh: int = 3_500_000
    meter_port: str = ""

    def enrolment(self) -> Enrolment:
        """Return who enrols."""
        return Enrolment(self.msp_id, self.enrolment_id.strip(), self.secret.strip())

    def without_secrets(self) -> "Answers":
        """Return the answers as they are kept once the wallet is enrolled."""
        return replace(self, secret="", passphrase="", passphrase_again="", enrolled=True)

    def settings(self, before: Settings | None = None) -> Settings:
        """Return ``before`` (default: the defaults) with the household's answers.

        ``SettingsError`` for an impossible one.
        """
        return (before or Settings()).changed(
            time_zone=self.time_zone,
            pv_peak_w=self.pv_peak_w,
            battery_capacity_wh=self.battery_capacity_wh,
            annual_load_wh=self.annual_load_wh,
            meter_port=self.meter_port.strip(),
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a step cannot be left yet: the field it is about, and one line for the user."""

    field: str
    text: str


Check = Callable[[Answers], Problem | None]


def _language(answers: Answers) -> Problem | None:
    if answers.language not in i18n.LANGUAGES:
        return Problem("language", tr("Choose a language."))
    return None


def _network(answers: Answers) -> Problem | None:
    if answers.profile is None:
        return Problem("profile", tr("Choose the network profile your operator gave you."))
    if not enrolling_organizations(answers.profile.profile):
        return Problem("profile", tr("No organisation of this network enrols wallets."))
    if not answers.compared:
        return Problem(
            "compared", tr("Compare the fingerprint with the one your operator published.")
        )
    return None


def _organisation(answers: Answers) -> Problem | None:
    if answers.profile is None or answers.msp_id not in enrolling_organizations(
        answers.profile.profile
    ):
        return Problem("msp_id", tr("Choose your organisation."))
    if not answers.enrolment_id.strip():
        return Problem("enrolment_id", tr("Enter the enrolment id your organisation gave you."))
    name = answers.enrolment_id.strip()
    if len(name) > 64 or not name.isprintable():
        return Problem("enrolment_id", tr("This is no enrolment id: check for a typing error."))
    if not answers.secret.strip():
        return Problem("secret", tr("Enter the secret that came with the enrolment id."))
    return None


def _key(answers: Answers) -> Problem | None:
    if answers.enrolled:
        return None
    if answers.key_place is None:
        return Problem("key_place", tr("Choose where the private key shall live."))
    if answers.key_place is KeyPlace.KEYRING:
        if answers.keyring is not KeyState.READY:
            return Problem("key_place", keyring_text(answers.keyring))
        return None
    text = passphrase_problem(answers.passphrase)
    if text:
        return Problem("passphrase", text)
    if answers.passphrase != answers.passphrase_again:
        return Problem("passphrase_again", tr("The two passphrases differ: enter it again."))
    return None


def _household(answers: Answers) -> Problem | None:
    try:
        answers.settings()
    except SettingsError as error:
        if "time_zone" in str(error):
            return Problem("time_zone", tr("There is no such time zone: choose one of the list."))
        return Problem("household", str(error))
    return None


def _nothing(answers: Answers) -> Problem | None:
    return None


STEPS: Mapping[Step, Check] = {
    Step.LANGUAGE: _language,
    Step.NETWORK: _network,
    Step.ORGANISATION: _organisation,
    Step.KEY: _key,
    Step.HOUSEHOLD: _household,
    Step.METER: _nothing,
    Step.DONE: _nothing,
}
"""Every step in its order, with the check that its answers must pass to go on."""

_ORDER = tuple(STEPS)


def problem(step: Step, answers: Answers) -> Problem | None:
    """Return why ``step`` cannot be left, None if it can."""
    return STEPS[step](answers)


def first(enrolled: bool) -> Step:
    """Return where to begin; a wallet that is enrolled already lacks only its household."""
    return Step.HOUSEHOLD if enrolled else Step.LANGUAGE


def following(step: Step, answers: Answers) -> Step | None:
    """Return the step after ``step``, the same step while it has a problem, None after the last."""
    if problem(step, answers) is not None:
        return step
    place = _ORDER.index(step) + 1
    return _ORDER[place] if place < len(_ORDER) else None


def before(step: Step, answers: Answers) -> Step | None:
    """Return the step to go back to; None at the beginning and right after the enrolment."""
    if step is _ORDER[0] or (answers.enrolled and step in (Step.HOUSEHOLD, Step.DONE)):
        return None
    return _ORDER[_ORDER.index(step) - 1]


def enrols_after(step: Step, answers: Answers) -> bool:
    """Tell whether leaving ``step`` means enrolling now."""
    return step is Step.KEY and not answers.enrolled


def saves_after(step: Step) -> bool:
    """Tell whether leaving ``step`` means writing the household's settings."""
    return step is Step.METER


def step_of(error: Exception, current: Step) -> Step:
    """Return the step at which the cause of ``error`` can be mended, ``current`` if unknown."""
    if isinstance(error, CaAuthenticationFailed | CaNotFound):
        return Step.ORGANISATION
    if isinstance(error, KeyStoreError):
        return Step.KEY
    if isinstance(error, ProfileError | TrustRootMismatch | TrustRootExpired):
        return Step.NETWORK
    return current


def position(step: Step) -> tuple[int, int]:
    """Return the number of ``step``, counted from 1, and how many there are."""
    return _ORDER.index(step) + 1, len(_ORDER)


# ---- words


def title(step: Step) -> str:
    """Return the heading of ``step``."""
    return {
        Step.LANGUAGE: tr("Welcome"),
        Step.NETWORK: tr("The network"),
        Step.ORGANISATION: tr("Your organisation"),
        Step.KEY: tr("Your private key"),
        Step.HOUSEHOLD: tr("Your household"),
        Step.METER: tr("Your meter"),
        Step.DONE: tr("Ready to trade"),
    }[step]


def explanation(step: Step) -> str:
    """Return what ``step`` is for, in a sentence or two."""
    return {
        Step.LANGUAGE: tr(
            "This wallet trades your household's electricity with your neighbours. Setting it up "
            "takes a few minutes."
        ),
        Step.NETWORK: tr(
            "The profile says where the network is and from which block all verification starts. "
            "Everything the wallet shows as verified rests on this one comparison."
        ),
        Step.ORGANISATION: tr(
            "Your organisation vouches for you in the market. The secret is used once, to have "
            "your key certified, and is kept nowhere."
        ),
        Step.KEY: tr(
            "The key that signs your quotes and readings is made on this machine and never leaves "
            "it. Whoever has it can trade in your name."
        ),
        Step.HOUSEHOLD: tr(
            "The first forecasts are made of these figures; later ones of what your meter shows. "
            "A rough guess will do."
        ),
        Step.METER: tr(
            "Slots are settled by what your meter measures. Without one the wallet watches the "
            "market but delivers no readings; the meter can be connected later. Further meters, "
            "for feed-in or the roof, are added on the Meters page."
        ),
        Step.DONE: tr("The wallet is set up."),
    }[step]


def passphrase_problem(passphrase: str) -> str:
    """Return what is wrong with a new passphrase, "" if it will do."""
    if len(passphrase) < MIN_PASSPHRASE:
        return tr("The passphrase needs at least {n} characters.", n=MIN_PASSPHRASE)
    if passphrase != passphrase.strip():
        return tr("A space at the beginning or end of a passphrase is easily missed: leave it out.")
    return ""


def keyring_text(state: KeyState | None) -> str:
    """Return what a keyring's state means and what to do; None means that it is being asked."""
    if state is None:
        return tr("The keyring is being asked …")
    return {
        KeyState.READY: tr("The keyring is ready."),
        KeyState.LOCKED: tr("The keyring is locked: unlock it, or use an encrypted file."),
        KeyState.ABSENT: tr("This machine has no keyring service: use an encrypted file."),
        KeyState.DENIED: tr(
            "The keyring refused: allow 'prosumer-wallet' to use it, or use an encrypted file."
        ),
    }[state]
