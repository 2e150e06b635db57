"""What administrators do at a CA: identities, affiliations, certificates; devnet and Fabric CA."""

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509

from light_node.fabric import crypto
from light_node.fabric.identity import SigningIdentity, attributes
from tests.conformance.ca_caller import Answer, Caller, unique
from tests.conformance.ca_servers import CaUnderTest

DENIED = (403, 71)
UNKNOWN = (404, 63)


@pytest.fixture(scope="module")
def caller(ca: CaUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    made = Caller(ca, tmp_path_factory.mktemp("administrator"))
    yield made
    made.session.close()


def ask(
    caller: Caller,
    method: str,
    path: str,
    body: Any = None,
    query: str = "",
    by: SigningIdentity | None = None,
) -> Answer:
    return caller.call(method, path, body, query=query, identity=by or caller.registrar)


def listed(caller: Caller, name: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(caller, "GET", f"identities/{name}").result
    return found


def values(entry: dict[str, Any]) -> dict[str, str]:
    return {a["name"]: a["value"] for a in entry["attrs"]}


# -- identities --------------------------------------------------------------------------------


def test_an_identity_is_added_and_may_enrol(caller: Caller) -> None:
    name = unique("added")
    attrs = [{"name": "market.permissions", "value": "trade", "ecert": True}]
    body = {"id": name, "type": "client", "attrs": attrs, "max_enrollments": 1}
    added = ask(caller, "POST", "identities", body)
    assert added.status == 201
    result = added.result
    assert (result["id"], result["type"], result["affiliation"]) == (name, "client", "")
    assert result["max_enrollments"] == 1
    assert result["caname"] == caller.ca.name
    assert values(result)["market.permissions"] == "trade"
    home = caller.enrolled(name, result["secret"])
    assert attributes(home.certificate)["market.permissions"] == "trade"
    again = ask(caller, "POST", "identities", body)
    assert again.failure == (409, 74)
    nameless = ask(caller, "POST", "identities", {**body, "id": ""})
    assert nameless.failure == (400, 52)


def test_an_identity_is_modified(caller: Caller) -> None:
    name = unique("changed")
    kept = {"name": "market.credit", "value": "A", "ecert": True}
    gone = {"name": "market.zone", "value": "north", "ecert": True}
    first = caller.register(name, attrs=[kept, gone], max_enrollments=1).result["secret"]
    change = {
        "attrs": [{**kept, "value": "B"}, {**gone, "value": ""}, {"name": "new", "value": "1"}],
        "max_enrollments": 5,
        "affiliation": "org1",
        "secret": "another secret",
    }
    result = ask(caller, "PUT", f"identities/{name}", change).result
    assert result["secret"] == "another secret"
    assert (result["affiliation"], result["max_enrollments"]) == ("org1", 5)
    found = listed(caller, name)
    result.pop("secret")
    assert {**found, "attrs": values(found)} == {**result, "attrs": values(result)}
    assert {k: v for k, v in values(found).items() if not k.startswith("hf.")} == {
        "market.credit": "B",
        "new": "1",
    }
    assert values(found)["hf.Affiliation"] == "org1"
    assert caller.enroll(name, first).failure == (401, 20)
    home = caller.enrolled(name, "another secret")
    assert attributes(home.certificate)["market.credit"] == "B"


def test_what_is_not_named_stays(caller: Caller) -> None:
    name = unique("same")
    secret = caller.register(name, attrs=[{"name": "a", "value": "1"}]).result["secret"]
    before = listed(caller, name)
    result = ask(caller, "PUT", f"identities/{name}", {"type": "peer"}).result
    assert result.get("secret", "") == ""
    after = listed(caller, name)
    assert after["type"] == values(after)["hf.Type"] == "peer"
    assert {**after, "type": "", "attrs": []} == {**before, "type": "", "attrs": []}
    assert values(after) == {**values(before), "hf.Type": "peer"}
    caller.enrolled(name, secret)
    result = ask(caller, "PUT", f"identities/{name}", {"max_enrollments": -1}).result
    assert result["max_enrollments"] == -1
    ask(caller, "PUT", f"identities/{name}", {"max_enrollments": -2})
    assert listed(caller, name)["max_enrollments"] == 0
    assert caller.enroll(name, secret).failure == (401, 20)


def test_a_new_secret_opens_what_wrong_ones_had_closed(caller: Caller) -> None:
    name = unique("locked")
    caller.register(name)
    for _ in range(11):
        refused = caller.enroll(name, "wrong")
    assert refused.failure == (401, 73)
    ask(caller, "PUT", f"identities/{name}", {"secret": "opened"})
    caller.enrolled(name, "opened")


def test_an_identity_is_removed_with_its_certificates(caller: Caller) -> None:
    name = unique("removed")
    secret = caller.register(name).result["secret"]
    home = caller.enrolled(name, secret)
    result = ask(caller, "DELETE", f"identities/{name}").result
    assert (result["id"], result["caname"]) == (name, caller.ca.name)
    assert ask(caller, "GET", f"identities/{name}").failure == UNKNOWN
    assert caller.enroll(name, secret).failure == (401, 20)
    assert ask(caller, "GET", "cainfo", by=home).status == 200
    assert ask(caller, "GET", "identities", by=home).failure == (401, 20)
    (left,) = certificates(caller, f"id={name}")
    assert left == home.certificate
    assert certificates(caller, f"id={name}&notrevoked=true") == []
    assert ask(caller, "DELETE", f"identities/{name}").failure == UNKNOWN


def test_who_may_manage_whom(caller: Caller) -> None:
    name = unique("watched")
    caller.register(name)
    plain = caller.member()
    rights = [
        {"name": "hf.Registrar.Roles", "value": "client"},
        {"name": "hf.Registrar.Attributes", "value": "market.*"},
    ]
    desk = caller.member(attrs=rights)
    peer = unique("peer")
    caller.register(peer, type="peer")
    for method, body in (("PUT", {"type": "client"}), ("DELETE", None), ("GET", None)):
        path = f"identities/{name}"
        assert ask(caller, method, path, body, by=plain).failure == DENIED
        if method != "DELETE":
            assert ask(caller, method, path, body, by=desk).status == 200
        assert ask(caller, method, f"identities/{peer}", body, by=desk).failure == DENIED
    allowed = {"attrs": [{"name": "market.credit", "value": "C"}]}
    assert ask(caller, "PUT", f"identities/{name}", allowed, by=desk).status == 200
    for change in (
        {"attrs": [{"name": "hf.Revoker", "value": "true"}]},
        {"attrs": [{"name": "other", "value": "1"}]},
        {"type": "peer"},
    ):
        assert ask(caller, "PUT", f"identities/{name}", change, by=desk).failure == DENIED
    nobody = {"affiliation": "nowhere"}
    assert ask(caller, "PUT", f"identities/{name}", nobody).failure == (400, 58)


def test_nobody_removes_himself_by_mistake(caller: Caller) -> None:
    rights = [
        {"name": "hf.Registrar.Roles", "value": "client"},
        {"name": "hf.Registrar.Attributes", "value": "market.*"},
    ]
    desk = caller.member(attrs=rights)
    own = f"identities/{name_of(desk)}"
    assert ask(caller, "DELETE", own, by=desk).failure == (403, 56)
    assert ask(caller, "DELETE", own, query="force=maybe", by=desk).failure == (400, 61)
    assert ask(caller, "DELETE", own, query="force=true", by=desk).status == 200


def name_of(identity: SigningIdentity) -> str:
    return attributes(identity.certificate)["hf.EnrollmentID"]


# -- affiliations ------------------------------------------------------------------------------


def tree(node: dict[str, Any]) -> dict[str, Any]:
    """An affiliation as nested names."""
    return {child["name"]: tree(child) for child in node.get("affiliations") or []}


def test_affiliations_are_listed(caller: Caller) -> None:
    found = ask(caller, "GET", "affiliations").result
    assert found["caname"] == caller.ca.name
    assert found["name"] == ""
    assert (
        tree(found).items()
        >= {
            "org1": {"org1.department1": {}, "org1.department2": {}},
            "org2": {"org2.department1": {}},
        }.items()
    )
    one = ask(caller, "GET", "affiliations/org1").result
    assert (one["name"], one["caname"]) == ("org1", caller.ca.name)
    assert set(tree(one)) >= {"org1.department1", "org1.department2"}
    leaf = ask(caller, "GET", "affiliations/org1.department1").result
    assert leaf == {"name": "org1.department1", "caname": caller.ca.name}
    assert ask(caller, "GET", "affiliations/nowhere").failure == UNKNOWN


def test_an_affiliation_is_added_used_and_removed(caller: Caller) -> None:
    zone = unique("zone")
    added = ask(caller, "POST", "affiliations", {"name": zone})
    assert added.status == 201
    assert added.result == {"name": zone, "caname": caller.ca.name}
    assert ask(caller, "POST", "affiliations", {"name": zone}).failure == (409, 60)
    member = caller.member(affiliation=zone)
    refused = ask(caller, "DELETE", f"affiliations/{zone}")
    assert refused.failure == DENIED
    removed = ask(caller, "DELETE", f"affiliations/{zone}", query="force=true").result
    assert removed["name"] == zone
    assert [entry["id"] for entry in removed["identities"]] == [name_of(member)]
    assert ask(caller, "GET", f"affiliations/{zone}").failure == UNKNOWN
    assert ask(caller, "GET", f"identities/{name_of(member)}").failure == UNKNOWN
    assert ask(caller, "GET", "identities", by=member).failure == (401, 20)
    assert ask(caller, "DELETE", f"affiliations/{zone}").failure == UNKNOWN


def test_affiliations_below_others(caller: Caller) -> None:
    top = unique("top")
    below = f"{top}.a.b"
    refused = ask(caller, "POST", "affiliations", {"name": below})
    assert refused.failure == UNKNOWN
    forced = ask(caller, "POST", "affiliations", {"name": below}, query="force=true")
    assert forced.result["name"] == below
    found = ask(caller, "GET", f"affiliations/{top}").result
    assert tree(found) == {f"{top}.a": {below: {}}}
    assert ask(caller, "DELETE", f"affiliations/{top}").failure == DENIED
    assert ask(caller, "DELETE", f"affiliations/{below}").result["name"] == below
    removed = ask(caller, "DELETE", f"affiliations/{top}", query="force=1").result
    assert tree(removed) == {f"{top}.a": {}}


def test_who_may_see_and_change_affiliations(caller: Caller) -> None:
    plain = caller.member()
    for method, path, body in (
        ("GET", "affiliations", None),
        ("GET", "affiliations/org1", None),
        ("POST", "affiliations", {"name": unique("no")}),
        ("DELETE", "affiliations/org1", None),
    ):
        assert ask(caller, method, path, body, by=plain).failure == DENIED
    manager = caller.member(
        affiliation="org2", attrs=[{"name": "hf.AffiliationMgr", "value": "true"}]
    )
    found = ask(caller, "GET", "affiliations", by=manager).result
    assert (found["name"], set(tree(found))) == ("org2", {"org2.department1"})
    for method, path, body in (
        ("GET", "affiliations/org1", None),
        ("POST", "affiliations", {"name": unique("no")}),
        ("DELETE", "affiliations/org2", None),
    ):
        assert ask(caller, method, path, body, by=manager).failure == DENIED


# -- certificates ------------------------------------------------------------------------------


def certificates(caller: Caller, query: str, by: SigningIdentity | None = None) -> list[Any]:
    result = ask(caller, "GET", "certificates", query=query, by=by).result
    assert result["caname"] == caller.ca.name
    return [crypto.load_certificate(entry["PEM"].encode()) for entry in result["certs"] or []]


def test_certificates_are_listed_by_what_is_asked_for(caller: Caller) -> None:
    name = unique("papers")
    secret = caller.register(name, max_enrollments=2).result["secret"]
    first, second = (caller.enrolled(name, secret).certificate for _ in range(2))
    serial = f"{first.serial_number:x}"
    aki = first.extensions.get_extension_for_class(
        x509.AuthorityKeyIdentifier
    ).value.key_identifier.hex()
    assert len(certificates(caller, f"id={name}")) == 2
    assert certificates(caller, f"serial=00{serial.upper()}&aki={aki}") == [first]
    assert certificates(caller, f"serial={serial}&aki=00ff") == []
    caller.call("POST", "revoke", {"serial": serial, "aki": aki}, identity=caller.registrar)
    assert certificates(caller, f"id={name}&notrevoked=true") == [second]
    assert certificates(caller, f"id={name}&revoked_start=-1h") == [first]
    assert certificates(caller, f"id={name}&revoked_end=2001-01-01") == []
    assert len(certificates(caller, f"id={name}&notexpired=true")) == 2
    assert certificates(caller, f"id={name}&expired_end=2001-01-01") == []
    assert len(certificates(caller, f"id={name}&expired_start=-30d&expired_end=%2B400d")) == 2
    everybody = certificates(caller, "")
    assert {c.serial_number for c in everybody} >= {first.serial_number, second.serial_number}
    assert certificates(caller, f"id={unique('nobody')}") == []


@pytest.mark.parametrize(
    "query",
    [
        "notexpired=true&expired_start=2001-01-01",
        "notrevoked=true&revoked_end=2001-01-01",
        "notrevoked=perhaps",
        "expired_start=soon",
        "revoked_start=-1y",
        "revoked_start=-1x",
        "expired_end=2001-01-01T00:00:00",
    ],
)
def test_questions_that_cannot_be_answered(caller: Caller, query: str) -> None:
    assert ask(caller, "GET", "certificates", query=query).failure == (400, 67)


def test_who_may_list_certificates(caller: Caller) -> None:
    plain = caller.member()
    assert ask(caller, "GET", "certificates", by=plain).failure == DENIED
    revoker = caller.member(
        affiliation="org2.department1", attrs=[{"name": "hf.Revoker", "value": "true"}]
    )
    seen = certificates(caller, "", by=revoker)
    assert revoker.certificate in seen
    assert plain.certificate not in seen
