"""Who calls: participant id, user type and permissions, as the CA certified them.

Access follows the attributes in the caller's certificate (docs/market-rules.md section 2), which
the organisation's CA issues and every endorsing peer sees alike:

| attribute          | value                                                     |
| ------------------ | --------------------------------------------------------- |
| hf.EnrollmentID    | the name the CA knows the holder by                       |
| market.user_type   | household, business, aggregator, operator or auditor      |
| market.permissions | comma list of trade, operate, audit                       |
| market.credit      | credit rating, free text                                  |
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from cryptography.x509 import Certificate

from light_node.contract.errors import Code, ContractError
from light_node.contract.stub import Invocation
from light_node.fabric import crypto, identity
from light_node.market.quotes import fault_of_id

USER_TYPES = ("household", "business", "aggregator", "operator", "auditor")
_MAX_CREDIT = 32
_CALLERS_REMEMBERED = 4096


class Permission(StrEnum):
    """What a certificate may allow its holder."""

    TRADE = "trade"
    OPERATE = "operate"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class _Creator:
    """Who signed a proposal; compared by the bytes that say it, which say all of it."""

    serialized: bytes
    certificate: Certificate = field(compare=False)
    msp_id: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity behind an invocation. ``participant`` is ``<enrolment id>@<MSP id>``.

    ``verify`` tells whether a (signature, message) is the caller's: :func:`crypto.verify
    <light_node.fabric.crypto.verify>` of its key.
    """

    participant: str
    user_type: str
    permissions: frozenset[str]
    credit: str
    certificate: Certificate
    verify: Callable[[bytes, bytes], bool]

    def require(self, permission: Permission) -> None:
        """Raise ``NOT_PERMITTED`` unless the certificate carries this permission."""
        if permission not in self.permissions:
            raise ContractError(
                Code.NOT_PERMITTED,
                f'the certificate needs "{permission}" in its attribute market.permissions',
            )

    def require_self(self, participant: str) -> None:
        """Raise ``NOT_YOURS`` unless the caller is this participant."""
        if participant != self.participant:
            raise ContractError(Code.NOT_YOURS, f"this identity acts for {self.participant} only")


def caller_of(invocation: Invocation) -> Caller:
    """Return who calls; ``NOT_PERMITTED`` if the certificate names nobody usable."""
    return _certified(_Creator(invocation.creator, invocation.certificate, invocation.msp_id))


@lru_cache(_CALLERS_REMEMBERED)
def _certified(creator: _Creator) -> Caller:
    # Follows from the certificate alone, and the same wallets call over and over.
    certificate = creator.certificate
    try:
        attributes = identity.attributes(certificate)
        name = identity.enrolment_id(certificate)
        verify = crypto.verifier(certificate.public_key())
    except identity.IdentityError as error:
        raise ContractError(Code.NOT_PERMITTED, str(error)) from None
    except crypto.UNREADABLE:
        raise ContractError(Code.NOT_PERMITTED, "the certificate's key cannot be read") from None
    participant = f"{name}@{creator.msp_id}"
    # With an @ in the name, "a@B" of MSP "C" and "a" of MSP "B@C" would be one participant.
    fault = fault_of_id(participant) or ("must not hold U+10FFFF" if "\U0010ffff" in name else "")
    if fault or "@" in name:
        raise ContractError(
            Code.NOT_PERMITTED, f"the enrolment id cannot be used: it {fault or 'must not hold @'}"
        )
    return Caller(
        participant=participant,
        user_type=attributes.get("market.user_type", ""),
        permissions=frozenset(attributes.get("market.permissions", "").split(",")),
        credit=attributes.get("market.credit", "")[:_MAX_CREDIT],
        certificate=certificate,
        verify=verify,
    )


def operator_of(invocation: Invocation) -> Caller:
    """Return the caller, who must be permitted to operate the market."""
    caller = caller_of(invocation)
    caller.require(Permission.OPERATE)
    return caller


def trader_of(invocation: Invocation) -> Caller:
    """Return the caller, who must be permitted to trade."""
    caller = caller_of(invocation)
    caller.require(Permission.TRADE)
    return caller
