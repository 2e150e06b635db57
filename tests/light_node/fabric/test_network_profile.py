"""Network profiles: round trip, strictness field by field, atomic writing."""

import copy
import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from light_node.clock import REAL_TIME, MarketTime
from light_node.fabric import profile as profiles
from light_node.fabric.profile import NetworkProfile, ProfileError


@pytest.fixture(scope="module")
def profile(tls: Any) -> NetworkProfile:
    root = tls.root_pem.decode()
    now = datetime(2026, 6, 21, tzinfo=UTC)
    return NetworkProfile(
        name="devnet",
        channel="market",
        chaincode="market",
        organizations=(
            profiles.Organization(
                "Org1MSP",
                (profiles.PeerEndpoint("peer0.org1", "127.0.0.1:7051", root),),
                profiles.CaEndpoint("https://127.0.0.1:7054", "ca-org1", root),
            ),
            profiles.Organization(
                "Org2MSP", (profiles.PeerEndpoint("peer0.org2", "[::1]:7151", root),)
            ),
        ),
        orderers=(
            profiles.OrdererEndpoint("OrdererMSP", "127.0.0.1:6050", root, 1),
            profiles.OrdererEndpoint("OrdererMSP", "127.0.0.1:6051", root),
        ),
        trust_root=profiles.TrustRoot(
            "market", b"\x00\xff block", "ab" * 32, now, now.replace(year=2027)
        ),
        market_time=MarketTime(now, now, 960),
        registrars=(profiles.Registrar("Org1MSP", "registrar", "geheim"),),
    )


def test_round_trip_in_memory_and_on_disk(profile: NetworkProfile, tmp_path: Path) -> None:
    assert NetworkProfile.from_json(profile.to_json()) == profile
    path = tmp_path / "new folder" / "network.json"
    profile.save(path)
    assert NetworkProfile.load(path) == profile
    assert [p.name for p in path.parent.iterdir()] == ["network.json"]


def test_what_may_be_missing(profile: NetworkProfile) -> None:
    value = profile.to_json()
    for name in ("market_time", "registrars"):
        del value[name]
    del value["orderers"][1]["consenter_id"], value["organizations"][1]["ca"]
    read = NetworkProfile.from_json(value)
    assert read.market_time == REAL_TIME
    assert read.registrars == ()
    assert read.to_json()["market_time"] is None


def test_an_organisation_is_found_or_named_missing(profile: NetworkProfile) -> None:
    assert profile.organization("Org2MSP").ca is None
    with pytest.raises(ProfileError, match=r"Org9MSP.*Org1MSP, Org2MSP"):
        profile.organization("Org9MSP")


def walk(value: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path, value
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from walk(item, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    value = copy.deepcopy(value)
    target = value
    for key in path[:-1]:
        target = target[key]
    if new is None:
        del target[path[-1]]
    else:
        target[path[-1]] = new
    return value


OPTIONAL = {"market_time", "registrars", "ca", "consenter_id"}


def test_every_missing_field_is_named(profile: NetworkProfile) -> None:
    tried = 0
    for path, _ in walk(profile.to_json()):
        if path and isinstance(path[-1], str) and path[-1] not in OPTIONAL:
            with pytest.raises(ProfileError, match=path[-1]):
                NetworkProfile.from_json(changed(profile.to_json(), path, None))
            tried += 1
    assert tried > 25


def test_every_unknown_field_is_named(profile: NetworkProfile) -> None:
    for path, value in walk(profile.to_json()):
        if isinstance(value, dict) and path[-1:] != ("market_time",):
            with pytest.raises(ProfileError, match="surprise"):
                NetworkProfile.from_json(changed(profile.to_json(), (*path, "surprise"), 1))


@pytest.mark.parametrize("wrong", [7, "", 1.5, [], {}, True], ids=repr)
def test_every_field_of_a_wrong_type_is_refused(profile: NetworkProfile, wrong: Any) -> None:
    for path, value in walk(profile.to_json()):
        if not path or (type(value) is type(wrong) and value == wrong):
            continue
        if wrong == [] and path[-1] in ("peers", "orderers", "registrars"):
            continue
        if wrong == 7 and path[-1] in ("consenter_id", "rate"):
            continue
        with pytest.raises(ProfileError):
            NetworkProfile.from_json(changed(profile.to_json(), path, wrong))


@pytest.mark.parametrize(
    ("path", "wrong", "message"),
    [
        (("version",), 2, "update the program"),
        (("channel",), "Market", "channel"),
        (("channel",), "other", "trust root is for channel"),
        (("organizations",), [], "names no organisation"),
        (("organizations", 0, "peers", 0, "address"), "localhost", "host:port"),
        (("organizations", 0, "peers", 0, "address"), "localhost:70000", "host:port"),
        (("organizations", 0, "peers", 0, "address"), "a:1\n", "host:port"),
        (("organizations", 0, "ca", "url"), "http://127.0.0.1", "https"),
        (("organizations", 1, "msp_id"), "Org1MSP", "twice"),
        (("organizations", 1, "peers", 0, "name"), "peer0.org1", "twice"),
        (("organizations", 0, "peers", 0, "tls_root_pem"), "nonsense", "PEM"),
        (("orderers", 0, "consenter_id"), -1, "at least 0"),
        (("trust_root", "hash"), "AB" * 32, "64 lower-case hex"),
        (("trust_root", "config_block"), "not base64", "base64"),
        (("trust_root", "obtained"), "yesterday", "ISO 8601"),
        (("trust_root", "obtained"), "2026-06-21T00:00:00", "offset"),
        (("trust_root", "expires"), "2026-06-20T00:00:00+00:00", "before"),
        (("market_time", "rate"), 0, "at least 1"),
    ],
)
def test_wrong_values_are_named(
    profile: NetworkProfile, path: tuple[Any, ...], wrong: Any, message: str
) -> None:
    with pytest.raises(ProfileError, match=message):
        NetworkProfile.from_json(changed(profile.to_json(), path, wrong))


def test_files_that_are_no_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "network.json"
    with pytest.raises(ProfileError, match="cannot read"):
        NetworkProfile.load(path)
    for raw in (b"", b"nonsense", b"[]", b"\xff", b'{"version":1,"version":1}'):
        path.write_bytes(raw)
        with pytest.raises(ProfileError, match=r"network\.json"):
            NetworkProfile.load(path)
    monkeypatch.setattr(profiles, "MAX_PROFILE_BYTES", 10)
    path.write_bytes(b"x" * 11)
    with pytest.raises(ProfileError, match="too large"):
        NetworkProfile.load(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no POSIX modes")
def test_secrets_are_readable_by_the_owner_only(profile: NetworkProfile, tmp_path: Path) -> None:
    path = tmp_path / "network.json"
    profile.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_disk_leaves_the_old_file(
    profile: NetworkProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "network.json"
    profile.save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        profile.save(path)
    assert path.read_bytes() == before
    assert json.loads(before)["name"] == "devnet"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["network.json"]
