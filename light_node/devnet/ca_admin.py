"""What administrators do at a CA: identities, affiliations, certificates (``/api/v1/…``).

Who may: managers of identities have ``hf.Registrar.Roles`` for the identity's type, managers of
affiliations ``hf.AffiliationMgr``, readers of certificates either of registrar's or revoker's
rights; each for what lies at or below their own affiliation. Codes as Fabric CA's; what it allows
only when configured to (removing) is allowed here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from light_node import jsonio
from light_node.devnet.ca import MAX_NAME_CHARACTERS, CertificateAuthority
from light_node.devnet.ca_requests import (
    ROLES,
    CaFailure,
    CaRequest,
    attributes_of,
    check_registrar,
    identity_json,
    is_within,
    unauthorized,
    within,
)
from light_node.devnet.registry import Attribute, IssuedCertificate, Registration
from light_node.fabric import crypto
from light_node.i18n import Text

Query = Mapping[str, str]
"""The last value of each query parameter."""

_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MAX_AMOUNT = 10**6
_GO_ON = -2
"""``max_enrollments`` in a change: no more enrolments. 0 leaves the number as it is."""


class Administration:
    """The administrators' side of one CA."""

    def __init__(self, authority: CertificateAuthority) -> None:
        self._authority = authority
        self._registry = authority.registry

    # -- identities --------------------------------------------------------------------------

    def identities(self, request: CaRequest, identity: str) -> dict[str, Any]:
        """Return one registered identity, or all that the caller may see."""
        caller = self._authority.authenticate(request)
        if identity:
            return self._answer(self._managed(caller, identity))
        if not caller.attribute(ROLES):
            raise unauthorized()
        found = self._registry.all(self._authority.name)
        seen = [identity_json(r) for r in found if _manages(caller, r)]
        return {"identities": seen, "caname": self._authority.name}

    def add_identity(self, request: CaRequest, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Register an identity; the answer has all of it with its secret."""
        if not fields.get("id"):
            self._authority.authenticate(request)
            raise CaFailure(400, 52, "Missing 'ID' in request to add a new identity")
        secret = self._authority.register(request, fields)["secret"]
        return self._answer(self._known(str(fields["id"])), secret)

    def modify_identity(
        self, request: CaRequest, identity: str, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Change what ``fields`` name; an attribute with an empty value is removed."""
        caller = self._authority.authenticate(request)
        before = self._managed(caller, identity)
        attributes = attributes_of(fields.get("attrs") or [])
        kind, affiliation = before.type, before.affiliation
        if fields.get("affiliation"):
            affiliation = self._affiliation(caller, fields)
            attributes.append(Attribute("hf.Affiliation", affiliation, True))
        if fields.get("type"):
            kind = jsonio.string(fields, "type", max_length=MAX_NAME_CHARACTERS)
            attributes.append(Attribute("hf.Type", kind, True))
        check_registrar(caller, kind, attributes_of(fields.get("attrs") or []))
        most = fields.get("max_enrollments") or before.max_enrollments
        if isinstance(most, bool) or not isinstance(most, int) or most < _GO_ON:
            raise CaFailure(400, 82, "Invalid max_enrollments: -2, -1, 0 or a positive number")
        secret = fields.get("secret") or None
        if secret is not None and (not isinstance(secret, str) or len(secret) > 1024):
            raise jsonio.JsonError(Text('"secret" must be a string of at most 1024 characters'))
        changed = replace(
            before,
            type=kind,
            affiliation=affiliation,
            attributes=_merged(before.attributes, attributes),
        )
        allowed = 0 if most == _GO_ON else most
        self._registry.modify(self._authority.name, changed, secret, allowed)
        return self._answer(self._known(identity), secret or "")

    def remove_identity(self, request: CaRequest, identity: str, query: Query) -> dict[str, Any]:
        """Remove an identity and revoke its certificates."""
        caller = self._authority.authenticate(request)
        if not _flag(query, "force") and identity == caller.id:
            raise CaFailure(403, 56, "Need to use 'force' option to delete your own identity")
        found = self._managed(caller, identity)
        self._remove(found, "cessationofoperation")
        return self._answer(found)

    def _affiliation(self, caller: Registration, fields: Mapping[str, Any]) -> str:
        asked = jsonio.string(fields, "affiliation", max_length=256)
        name = "" if asked == "." else asked
        if name and name not in self._registry.affiliations(self._authority.name):
            raise CaFailure(400, 58, f"Affiliation '{name[:100]}' is not supported")
        if not is_within(name, caller.affiliation):
            raise unauthorized()
        return name

    def _known(self, identity: str) -> Registration:
        found = self._authority.registration(identity)
        if found is None:
            raise CaFailure(404, 63, f"Failed to get identity '{identity[:100]}'")
        return found

    def _managed(self, caller: Registration, identity: str) -> Registration:
        found = self._known(identity)
        if not _manages(caller, found):
            raise unauthorized()
        return found

    def _remove(self, identity: Registration, reason: str) -> None:
        moment = self._authority.now().astimezone(UTC).replace(microsecond=0)
        self._registry.remove(self._authority.name, identity.id, moment, reason)

    def _answer(self, registration: Registration, secret: str = "") -> dict[str, Any]:
        answer = {**identity_json(registration), "caname": self._authority.name}
        return {**answer, "secret": secret} if secret else answer

    # -- affiliations ------------------------------------------------------------------------

    def affiliations(self, request: CaRequest, name: str) -> dict[str, Any]:
        """Return an affiliation with those below it, or all that the caller may see."""
        caller = self._manager(request)
        known = self._registry.affiliations(self._authority.name)
        if name:
            self._check_affiliation(caller, name)
            return self._tree([a for a in known if is_within(a, name)], name, [])
        seen = [a for a in known if is_within(a, caller.affiliation)]
        if not seen:
            raise CaFailure(404, 16, "No affiliations are configured on the CA")
        tops = [a for a in seen if not any(is_within(a, b) for b in seen if b != a)]
        return self._tree(seen, tops[0] if len(tops) == 1 else "", [])

    def add_affiliation(
        self, request: CaRequest, fields: Mapping[str, Any], query: Query
    ) -> dict[str, Any]:
        """Add an affiliation; with ``force`` also those above that are missing."""
        caller = self._manager(request)
        name = jsonio.string(fields, "name", max_length=256)
        known = self._registry.affiliations(self._authority.name)
        if name in known:
            raise CaFailure(409, 60, "Affiliation already exists")
        if not is_within(name, caller.affiliation):
            raise unauthorized()
        parts = name.split(".")
        above = [".".join(parts[:count]) for count in range(1, len(parts))]
        if above and above[-1] not in known and not _flag(query, "force"):
            raise CaFailure(404, 63, "Failed to get affiliation: its parent does not exist")
        self._registry.set_affiliations(self._authority.name, [*known, *above, name])
        return {"name": name, "caname": self._authority.name}

    def remove_affiliation(self, request: CaRequest, name: str, query: Query) -> dict[str, Any]:
        """Remove an affiliation; with ``force`` also those below and all their identities."""
        caller = self._manager(request)
        if name == caller.affiliation:
            raise unauthorized()
        if not is_within(name, caller.affiliation):
            raise unauthorized()
        force = _flag(query, "force")
        self._check_affiliation(caller, name)
        known = self._registry.affiliations(self._authority.name)
        gone = [a for a in known if is_within(a, name)]
        members = [
            r for r in self._registry.all(self._authority.name) if is_within(r.affiliation, name)
        ]
        if members and not caller.attribute(ROLES):
            raise unauthorized()
        if (members or len(gone) > 1) and not force:
            raise unauthorized()
        for member in members:
            self._remove(member, "affiliationchanged")
        self._registry.set_affiliations(self._authority.name, [a for a in known if a not in gone])
        return self._tree(gone, name, members)

    def _manager(self, request: CaRequest) -> Registration:
        caller = self._authority.authenticate(request)
        if caller.attribute("hf.AffiliationMgr") != "true":
            raise unauthorized()
        return caller

    def _check_affiliation(self, caller: Registration, name: str) -> None:
        if not is_within(name, caller.affiliation):
            raise unauthorized()
        if name not in self._registry.affiliations(self._authority.name):
            raise CaFailure(404, 63, f"Failed to get affiliation '{name[:100]}'")

    def _tree(
        self, known: Sequence[str], name: str, members: Sequence[Registration]
    ) -> dict[str, Any]:
        return {**_node(known, name, members), "caname": self._authority.name}

    # -- certificates ------------------------------------------------------------------------

    def certificates(self, request: CaRequest, query: Query) -> dict[str, Any]:
        """Return the certificates that fit every condition of the query."""
        caller = self._authority.authenticate(request)
        if not caller.attribute(ROLES) and caller.attribute("hf.Revoker") != "true":
            raise unauthorized()
        fits = _Wanted(query, self._authority.now())
        members = {r.id for r in self._registry.all(self._authority.name)
                   if is_within(r.affiliation, caller.affiliation)}  # fmt: skip
        found = [
            {"PEM": c.pem.decode()}
            for c in self._registry.certificates(self._authority.name)
            if (not caller.affiliation or c.id in members) and fits(c)
        ]
        return {"certs": found, "caname": self._authority.name}


class _Wanted:
    """The conditions of a question for certificates; ``CaFailure`` 67 if they make no sense."""

    def __init__(self, query: Query, now: datetime) -> None:
        self._now = now
        self._id = query.get("id", "")
        self._serial, self._aki = (query.get(n, "").lower().lstrip("0") for n in ("serial", "aki"))
        try:
            self._not_revoked, self._not_expired = (
                _flag(query, name) for name in ("notrevoked", "notexpired")
            )
            self._revoked, self._expire = (
                (
                    _moment(query.get(f"{what}_start", ""), now),
                    _moment(query.get(f"{what}_end", ""), now),
                )
                for what in ("revoked", "expired")
            )
        except (CaFailure, ValueError, OverflowError) as error:
            raise CaFailure(400, 67, f"Invalid Request: {error}") from error
        for flag, bounds, what in (
            (self._not_revoked, self._revoked, "revocation"),
            (self._not_expired, self._expire, "expiration"),
        ):
            if flag and bounds != (None, None):
                raise CaFailure(400, 67, f"Invalid Request: {what} time and its absence")

    def __call__(self, entry: IssuedCertificate) -> bool:
        if self._id not in ("", entry.id) or self._serial not in ("", entry.serial):
            return False
        if self._aki not in ("", entry.aki.lstrip("0")):
            return False
        if self._not_revoked and entry.revoked_at is not None:
            return False
        if self._revoked != (None, None) and (
            entry.revoked_at is None or not within(entry.revoked_at, *self._revoked)
        ):
            return False
        ends = crypto.load_certificate(entry.pem).not_valid_after_utc
        return within(ends, *self._expire) and not (self._not_expired and ends < self._now)


def _manages(caller: Registration, other: Registration) -> bool:
    """Tell whether the caller may act on an identity: by its type and its affiliation."""
    roles = [role.strip() for role in caller.attribute(ROLES).split(",")]
    return is_within(other.affiliation, caller.affiliation) and (
        "*" in roles or other.type in roles
    )


def _merged(before: Sequence[Attribute], changes: Sequence[Attribute]) -> tuple[Attribute, ...]:
    """Return attributes with others in their place, those of empty value left out."""
    kept = {a.name: a for a in before} | {a.name: a for a in changes}
    changed = {a.name for a in changes}
    return tuple(a for a in kept.values() if a.value or a.name not in changed)


def _node(known: Sequence[str], name: str, members: Sequence[Registration]) -> dict[str, Any]:
    """Return an affiliation as nested JSON, with its identities; ``name`` "" is above all."""
    parts = len(name.split(".")) if name else 0
    below = [a for a in known if len(a.split(".")) == parts + 1 and is_within(a, name)]
    identities = [identity_json(r) for r in members if name and r.affiliation == name]
    node: dict[str, Any] = {"name": name}
    if below:
        node["affiliations"] = [_node(known, a, members) for a in below]
    if identities:
        node["identities"] = identities
    return node


def _flag(query: Query, name: str) -> bool:
    """Return a Boolean parameter, False if absent; ``CaFailure`` 61."""
    text = query.get(name, "").lower()
    if text not in ("", *_TRUE, *_FALSE):
        raise CaFailure(400, 61, f"Failed to correctly parse value of '{name}' query parameter")
    return text in _TRUE


def _moment(text: str, now: datetime) -> datetime | None:
    """Return a time: RFC 3339, a date, or like ``-30d`` from now on; ``ValueError``."""
    if not text:
        return None
    if text[0] in "+-":
        amount, unit = text[1:-1], _UNITS.get(text[-1].lower())
        if unit is None or not amount.isdecimal() or int(amount[:9]) > _MAX_AMOUNT:
            raise ValueError(f"{text[:40]!r} is no duration like +30d or -8h")
        distance = timedelta(**{unit: int(amount)})
        return now + distance if text[0] == "+" else now - distance
    moment = datetime.fromisoformat(text if "T" in text else f"{text}T00:00:00Z")
    if moment.tzinfo is None:
        raise ValueError(f"{text[:40]!r} has no time zone")
    return moment
