"""What went wrong, in the user's words: one place that every screen, note and command asks.

Errors of the light node carry their sentence as a template with fields (:mod:`light_node.i18n`)
and are translated as they are. What another machine decides by a code, such as the contract's
refusals, and what the user can do something about here gets a sentence of its own. What the other
side wrote is never part of it: see :func:`foreign`.
"""

from collections.abc import Mapping

from requests.exceptions import SSLError

from light_node.chain.errors import TrustRootExpired, TrustRootMismatch
from light_node.contract.errors import Code
from light_node.fabric.errors import (
    CaAnswerInvalid,
    CaAuthenticationFailed,
    CaError,
    CaNotFound,
    CaUnavailable,
    ContractRefused,
    FabricError,
)
from light_node.i18n import os_reason
from wallet_app.i18n import said, tr
from wallet_app.keys.store import KeyNotFound, KeyringUnavailable, KeyState, WrongPassphrase


def explain(error: BaseException) -> str:
    """Return one line in our own words on what went wrong and what to do."""
    if isinstance(error, KeyringUnavailable):
        return _keyring_failed(error.state)
    if isinstance(error, CaUnavailable) and isinstance(error.__cause__, SSLError):
        return tr(
            "Another server answers in the CA's place: its TLS certificate is not the one of the "
            "profile. Nothing was sent to it; ask your operator."
        )
    if isinstance(error, ContractRefused):
        why = _refusals().get(error.code)
        return tr("{why} ({code})", why=why, code=error.code) if why else said(error)
    for kind, text in _words():
        if isinstance(error, kind):
            return text
    if isinstance(error, OSError) and error.filename is not None:
        return tr(
            "A file cannot be used: {reason} ({file})",
            reason=said(os_reason(error)),
            file=error.filename,
        )
    return said(error)


def foreign(error: BaseException) -> str:
    """Return what the other side said, "" if nothing; not checked, never to be trusted."""
    return error.foreign if isinstance(error, FabricError) else ""


def _keyring_failed(state: KeyState) -> str:
    # Not keyring_text: the key lies in the keyring already, a file is no way out.
    return {
        KeyState.READY: tr("The keyring did not do it: try again."),
        KeyState.LOCKED: tr("The keyring is locked: unlock it and try again."),
        KeyState.ABSENT: tr(
            "The keyring service does not answer: log in to your desktop and try again."
        ),
        KeyState.DENIED: tr(
            "The keyring refused: allow 'prosumer-wallet' to use it and try again."
        ),
    }[state]


def _words() -> tuple[tuple[type[Exception], str], ...]:
    return (
        (
            CaAuthenticationFailed,
            tr(
                "The CA does not accept this enrolment id and secret: check both for typing "
                "errors. A secret may be used up: ask your organisation for a new one."
            ),
        ),
        (CaNotFound, tr("The organisation's CA is not the one of the profile: ask your operator.")),
        (
            CaUnavailable,
            tr(
                "The organisation's CA cannot be reached: check the network connection and try "
                "again."
            ),
        ),
        (CaAnswerInvalid, tr("The CA's answer cannot be used: tell your organisation.")),
        (CaError, tr("The CA refused the enrolment: ask your organisation.")),
        (
            TrustRootExpired,
            tr("The network profile has expired: get a new one from your operator."),
        ),
        (
            TrustRootMismatch,
            tr(
                "The network profile was altered or damaged: its trust root is not what the "
                "profile says. Get it again from your operator."
            ),
        ),
        (
            WrongPassphrase,
            tr("The passphrase does not open the key: check capitals and keyboard layout."),
        ),
        (
            KeyNotFound,
            tr("The private key is not there: restore your backup, or enrol again."),
        ),
    )


def _refusals() -> Mapping[str, str]:
    """The contract's codes (docs/contract.md) as the participant needs to hear them."""
    return {
        Code.BAD_INPUT.name: tr("the market cannot use what was sent: update the program"),
        Code.UNKNOWN_FUNCTION.name: tr(
            "the market's contract is of another version: update the program"
        ),
        Code.BAD_SIGNATURE.name: tr("the market does not accept this wallet's signature"),
        Code.PRICE_OUT_OF_BOUNDS.name: tr("the price is below the slot's floor or above its cap"),
        Code.IMPLAUSIBLE_READING.name: tr(
            "the market finds the meter reading impossible: check meter and connected power"
        ),
        Code.NOT_PERMITTED.name: tr(
            "this wallet's certificate does not allow that: ask your organisation"
        ),
        Code.NOT_YOURS.name: tr("only the participant itself may do that"),
        Code.DELISTED.name: tr("the market has delisted this participant: ask your organisation"),
        Code.NOT_ADMITTED.name: tr("this wallet has not been admitted to the market yet"),
        Code.UNKNOWN_SLOT.name: tr("the market has not opened this slot"),
        Code.UNKNOWN_PARTICIPANT.name: tr("the market does not know this participant"),
        Code.NOT_YET.name: tr("the slot has not come this far yet"),
        Code.SLOT_EXISTS.name: tr("the slot is open already"),
        Code.SLOT_OVERLAPS.name: tr("another slot covers part of this time"),
        Code.ROUND_CLOSED.name: tr("the round was closed already, or another one is open"),
        Code.WRONG_PHASE.name: tr("the slot is past that, or not there yet"),
        Code.DELIVERY_CLOSED.name: tr("the slot takes no readings now"),
        Code.SIDE_CHANGED.name: tr("a later round may not change from buying to selling or back"),
        Code.ENERGY_RAISED.name: tr("a later round may not raise the energy"),
        Code.FIRST_QUOTE_TOO_LATE.name: tr("first quotes are taken in round 1 only"),
        Code.TOO_MANY_REVISIONS.name: tr("the reading was corrected as often as the market allows"),
        Code.TOO_MANY_QUOTES.name: tr("the slot holds as many quotes as it can take"),
        Code.CONTRADICTION.name: tr(
            "what the market recomputes differs from what it recorded: ask your operator"
        ),
    }
