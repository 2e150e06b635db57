"""Network profiles: everything a wallet must know to use a network, in one JSON file.

A profile holds public facts only, apart from ``registrars``, which a devnet fills in so that demo
programs can register participants. Reading is strict: an unknown or missing field is an error that
names it, because a half-understood trust root is none.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from light_node import jsonio
from light_node.clock import REAL_TIME, MarketTime
from light_node.fabric.crypto import CryptoError, load_certificates
from light_node.files import write_atomically
from light_node.i18n import Text, os_reason

VERSION = 1
MAX_PROFILE_BYTES = 64 * 1024 * 1024
_MAX_PEM_CHARACTERS = 256 * 1024
_MAX_ENTRIES = 1000
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):([0-9]{1,5})\Z")
_CHANNEL = re.compile(r"[a-z][a-z0-9.-]{0,248}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")


class ProfileError(jsonio.JsonError):
    """A network profile cannot be used; the message names the field and says what to do."""


@dataclass(frozen=True, slots=True)
class PeerEndpoint:
    """A peer: name, ``host:port`` and the PEM roots its TLS certificate must chain to."""

    name: str
    address: str
    tls_root_pem: str


@dataclass(frozen=True, slots=True)
class CaEndpoint:
    """An organisation's Fabric CA: base URL (https), CA name, PEM roots of its TLS certificate."""

    url: str
    name: str
    tls_root_pem: str


@dataclass(frozen=True, slots=True)
class Organization:
    """An organisation with its peers, and its CA if wallets may enrol there."""

    msp_id: str
    peers: tuple[PeerEndpoint, ...]
    ca: CaEndpoint | None = None


@dataclass(frozen=True, slots=True)
class OrdererEndpoint:
    """An orderer; ``consenter_id`` is its number in a BFT channel's config, None with Raft."""

    msp_id: str
    address: str
    tls_root_pem: str
    consenter_id: int | None = None


@dataclass(frozen=True, slots=True)
class TrustRoot:
    """A config block obtained out of band, from which all verification starts (section 2.6).

    ``hash`` is the block's header hash in hex. Past ``expires`` the root is refused.
    """

    channel: str
    config_block: bytes
    hash: str
    obtained: datetime
    expires: datetime


@dataclass(frozen=True, slots=True)
class Registrar:
    """A devnet's CA registrar, with its secret; never part of a real network's profile."""

    msp_id: str
    id: str
    secret: str


@dataclass(frozen=True, slots=True)
class NetworkProfile:
    """One network as a wallet sees it."""

    name: str
    channel: str
    chaincode: str
    organizations: tuple[Organization, ...]
    orderers: tuple[OrdererEndpoint, ...]
    trust_root: TrustRoot
    market_time: MarketTime = REAL_TIME
    registrars: tuple[Registrar, ...] = ()

    def organization(self, msp_id: str) -> Organization:
        """Return the organisation ``msp_id``; ``ProfileError`` if the profile has none."""
        for organization in self.organizations:
            if organization.msp_id == msp_id:
                return organization
        known = ", ".join(o.msp_id for o in self.organizations)
        raise ProfileError(
            Text(
                "the network has no organisation '{msp_id}', only {known}",
                msp_id=msp_id,
                known=known,
            )
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, which :meth:`from_json` reads."""
        return {
            "version": VERSION,
            "name": self.name,
            "channel": self.channel,
            "chaincode": self.chaincode,
            "organizations": [_organization_json(o) for o in self.organizations],
            "orderers": [
                {
                    "msp_id": o.msp_id,
                    "address": o.address,
                    "tls_root_pem": o.tls_root_pem,
                    "consenter_id": o.consenter_id,
                }
                for o in self.orderers
            ],
            "trust_root": {
                "channel": self.trust_root.channel,
                "config_block": base64.b64encode(self.trust_root.config_block).decode(),
                "hash": self.trust_root.hash,
                "obtained": self.trust_root.obtained.isoformat(),
                "expires": self.trust_root.expires.isoformat(),
            },
            "market_time": None if self.market_time == REAL_TIME else self.market_time.to_json(),
            "registrars": [
                {"msp_id": r.msp_id, "id": r.id, "secret": r.secret} for r in self.registrars
            ]
            or None,
        }

    @classmethod
    def from_json(cls, value: Any) -> "NetworkProfile":
        """Read :meth:`to_json`'s form; ``ProfileError`` names what is wrong."""
        try:
            return _read_profile(value)
        except ProfileError:
            raise
        except jsonio.JsonError as error:
            raise ProfileError(Text("network profile: {error}", error=error)) from error

    @classmethod
    def load(cls, path: Path) -> "NetworkProfile":
        """Read the profile at ``path``; ``ProfileError`` if that is impossible."""
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_PROFILE_BYTES + 1)
        except OSError as error:
            raise ProfileError(
                Text(
                    "cannot read the network profile {path}: {why}; start the network or "
                    "import its profile",
                    path=path,
                    why=os_reason(error),
                )
            ) from error
        if len(raw) > MAX_PROFILE_BYTES:
            raise ProfileError(Text("{path} is too large to be a network profile", path=path))
        try:
            return cls.from_json(jsonio.strict_loads(raw))
        except jsonio.JsonError as error:
            raise ProfileError(Text("{path}: {error}", path=path, error=error)) from error

    def save(self, path: Path) -> None:
        """Write the profile to ``path``: the whole new file or the old one, never half of each.

        Readable by its owner only when it holds registrar secrets. ``OSError`` if the disk refuses.
        """
        data = json.dumps(self.to_json(), ensure_ascii=False, indent=1).encode()
        write_atomically(path, data, private=bool(self.registrars))


def _organization_json(organization: Organization) -> dict[str, Any]:
    ca = organization.ca
    return {
        "msp_id": organization.msp_id,
        "peers": [
            {"name": p.name, "address": p.address, "tls_root_pem": p.tls_root_pem}
            for p in organization.peers
        ],
        "ca": ca and {"url": ca.url, "name": ca.name, "tls_root_pem": ca.tls_root_pem},
    }


def _read_profile(value: Any) -> NetworkProfile:
    fields = _fields(
        value,
        Text("the network profile"),
        "version name channel chaincode organizations orderers trust_root market_time registrars",
        optional="market_time registrars",
    )
    if jsonio.integer(fields, "version") != VERSION:
        raise ProfileError(
            Text(
                "the network profile is of version {version}; this program reads version "
                "{ours}: update the program or export the profile again",
                version=fields["version"],
                ours=VERSION,
            )
        )
    channel = _matching(fields, "channel", _CHANNEL, Text("a channel name"))
    organizations = tuple(_organization(item) for item in _items(fields, "organizations"))
    if not organizations:
        raise ProfileError(Text("the network profile names no organisation"))
    _distinct((o.msp_id for o in organizations), Text("organisation"))
    _distinct((p.name for o in organizations for p in o.peers), Text("peer"))
    trust_root = _trust_root(jsonio.required(fields, "trust_root"))
    if trust_root.channel != channel:
        raise ProfileError(
            Text(
                "the trust root is for channel '{channel}', not '{expected}'",
                channel=trust_root.channel,
                expected=channel,
            )
        )
    registrars = fields.get("registrars")
    return NetworkProfile(
        name=jsonio.string(fields, "name", max_length=200),
        channel=channel,
        chaincode=jsonio.string(fields, "chaincode", max_length=200),
        organizations=organizations,
        orderers=tuple(_orderer(item) for item in _items(fields, "orderers")),
        trust_root=trust_root,
        market_time=MarketTime.from_json(fields.get("market_time")),
        registrars=()
        if registrars is None
        else tuple(_registrar(item) for item in _items(fields, "registrars")),
    )


def _organization(value: Any) -> Organization:
    fields = _fields(value, Text("an organisation"), "msp_id peers ca", optional="ca")
    ca = fields.get("ca")
    return Organization(
        msp_id=jsonio.string(fields, "msp_id", max_length=200),
        peers=tuple(_peer(item) for item in _items(fields, "peers")),
        ca=None if ca is None else _ca(ca),
    )


def _peer(value: Any) -> PeerEndpoint:
    fields = _fields(value, Text("a peer"), "name address tls_root_pem")
    return PeerEndpoint(
        name=jsonio.string(fields, "name", max_length=200),
        address=_address(fields),
        tls_root_pem=_pem(fields),
    )


def _ca(value: Any) -> CaEndpoint:
    fields = _fields(value, Text("a CA"), "url name tls_root_pem")
    url = jsonio.string(fields, "url")
    if not url.startswith("https://"):
        raise ProfileError(Text("the CA's url must start with https://, not '{url}'", url=url[:20]))
    return CaEndpoint(url, jsonio.string(fields, "name", max_length=200), _pem(fields))


def _orderer(value: Any) -> OrdererEndpoint:
    fields = _fields(
        value,
        Text("an orderer"),
        "msp_id address tls_root_pem consenter_id",
        optional="consenter_id",
    )
    number = fields.get("consenter_id")
    return OrdererEndpoint(
        msp_id=jsonio.string(fields, "msp_id", max_length=200),
        address=_address(fields),
        tls_root_pem=_pem(fields),
        consenter_id=None
        if number is None
        else jsonio.integer(fields, "consenter_id", low=0, high=2**32 - 1),
    )


def _trust_root(value: Any) -> TrustRoot:
    fields = _fields(value, "trust_root", "channel config_block hash obtained expires")
    try:
        block = base64.b64decode(
            jsonio.string(fields, "config_block", max_length=MAX_PROFILE_BYTES), validate=True
        )
    except (binascii.Error, ValueError) as error:
        raise ProfileError(Text('"config_block" is not base64')) from error
    obtained, expires = _time(fields, "obtained"), _time(fields, "expires")
    if expires <= obtained:
        raise ProfileError(Text('the trust root "expires" before it was "obtained"'))
    return TrustRoot(
        channel=_matching(fields, "channel", _CHANNEL, Text("a channel name")),
        config_block=block,
        hash=_matching(fields, "hash", _HASH, Text("64 lower-case hex digits")),
        obtained=obtained,
        expires=expires,
    )


def _registrar(value: Any) -> Registrar:
    fields = _fields(value, Text("a registrar"), "msp_id id secret")
    return Registrar(
        jsonio.string(fields, "msp_id", max_length=200),
        jsonio.string(fields, "id", max_length=200),
        jsonio.string(fields, "secret", max_length=1000),
    )


def _fields(value: Any, what: str, names: str, *, optional: str = "") -> dict[str, Any]:
    fields = jsonio.mapping(value, what)
    known = names.split()
    for name in fields:
        if name not in known:
            raise ProfileError(
                Text('{what} has an unknown field "{name}"', what=what, name=name[:64])
            )
    for name in known:
        if name not in fields and name not in optional.split():
            raise ProfileError(Text('{what} lacks the field "{name}"', what=what, name=name))
    return fields


def _items(fields: Mapping[str, Any], name: str) -> list[Any]:
    items = jsonio.array(fields, name)
    if len(items) > _MAX_ENTRIES:
        raise ProfileError(
            Text('"{name}" has more than {most} entries', name=name, most=_MAX_ENTRIES)
        )
    return items


def _matching(fields: Mapping[str, Any], name: str, form: re.Pattern[str], what: str) -> str:
    text = jsonio.string(fields, name)
    if not form.match(text):
        raise ProfileError(Text('"{name}" must be {what}', name=name, what=what))
    return text


def _address(fields: Mapping[str, Any]) -> str:
    text = jsonio.string(fields, "address", max_length=300)
    match = _ADDRESS.match(text)
    if not match or not 0 < int(match[2]) < 65536:
        raise ProfileError(Text('"address" must be host:port, not "{text}"', text=text[:100]))
    return text


def _pem(fields: Mapping[str, Any]) -> str:
    text = jsonio.string(fields, "tls_root_pem", max_length=_MAX_PEM_CHARACTERS)
    try:
        load_certificates(text.encode())
    except CryptoError as error:
        raise ProfileError(Text('"tls_root_pem" holds no certificate in PEM')) from error
    return text


def _time(fields: Mapping[str, Any], name: str) -> datetime:
    text = jsonio.string(fields, name, max_length=64)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ProfileError(Text('"{name}" is no ISO 8601 time', name=name)) from error
    if time.tzinfo is None:
        raise ProfileError(
            Text('"{name}" needs an offset, like 2026-06-21T00:00:00+00:00', name=name)
        )
    return time


def _distinct(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ProfileError(
                Text("the network profile names the {what} '{name}' twice", what=what, name=name)
            )
        seen.add(name)
