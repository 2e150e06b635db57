"""The install package: the same bytes everywhere, and what a peer finds in it."""

import gzip
import hashlib
import io
import json
import tarfile

import pytest

from light_node.chaincode.packaging import (
    Connection,
    PackageError,
    build,
    is_package_id,
    package_id,
)

HERE = Connection("127.0.0.1:9999")


def unpack(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        return {
            member.name: extracted.read()
            for member in archive.getmembers()
            if (extracted := archive.extractfile(member))
        }


def connection_of(package: bytes) -> dict[str, object]:
    return json.loads(unpack(unpack(package)["code.tar.gz"])["connection.json"])


def test_a_package_holds_what_fabric_asks_for() -> None:
    files = unpack(build("market_1", HERE))
    assert list(files) == ["metadata.json", "code.tar.gz"]
    assert json.loads(files["metadata.json"]) == {"type": "ccaas", "label": "market_1"}
    assert connection_of(build("market_1", HERE)) == {
        "address": "127.0.0.1:9999",
        "dial_timeout": "10s",
        "tls_required": False,
    }


def test_the_id_never_changes() -> None:
    """A changed hash would make every organisation install and approve anew."""
    package = build("market_1", HERE)
    assert package_id("market_1", package) == "market_1:" + hashlib.sha256(package).hexdigest()
    assert hashlib.sha256(package).hexdigest() == (
        "b223239ccd670c470a73c86f9f6cfa98df548c54ff02ddd709df50a7c1d07e40"
    )


def test_the_archives_hold_no_time_no_owner_and_no_system() -> None:
    package = build("market_1", HERE)
    assert package[4:8] == bytes(4)
    assert package[9] == 255
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(package))) as archive:
        for member in archive.getmembers():
            assert (member.mtime, member.uid, member.gid, member.mode) == (0, 0, 0, 0o644)
            assert (member.uname, member.gname) == ("", "")


def test_long_certificates_cross_the_blocks_of_the_archive() -> None:
    pem = "x" * 200_000
    assert connection_of(build("m", Connection("h:1", root_cert=pem)))["root_cert"] == pem


def test_tls_and_mutual_tls() -> None:
    one_way = connection_of(build("m", Connection("h:1", root_cert="R")))
    assert one_way["tls_required"] is True
    assert one_way["client_auth_required"] is False
    both = connection_of(
        build("m", Connection("h:1", root_cert="R", client_cert="C", client_key="K"))
    )
    assert both["client_auth_required"] is True
    assert (both["root_cert"], both["client_cert"], both["client_key"]) == ("R", "C", "K")


def test_a_template_is_left_to_the_peers_builder() -> None:
    made = connection_of(build("m", Connection("{{.host}}:9999", dial_timeout="{{.timeout}}")))
    assert (made["address"], made["dial_timeout"]) == ("{{.host}}:9999", "{{.timeout}}")


@pytest.mark.parametrize(
    ("label", "connection"),
    [
        ("", HERE),
        ("a b", HERE),
        ("_a", HERE),
        ("a/b", HERE),
        ("a:b", HERE),
        ("a" * 101, HERE),
        ("m", Connection("")),
        ("m", Connection("host")),
        ("m", Connection(":1")),
        ("m", Connection("host:0")),
        ("m", Connection("host:65536")),
        ("m", Connection("h:1", dial_timeout="10")),
        ("m", Connection("h:1", client_cert="C", client_key="K")),
        ("m", Connection("h:1", root_cert="R", client_cert="C")),
    ],
)
def test_what_no_peer_could_use_is_refused(label: str, connection: Connection) -> None:
    with pytest.raises(PackageError):
        build(label, connection)


def test_what_looks_like_an_id() -> None:
    assert is_package_id("market_1.0:" + "0a" * 32)
    assert not is_package_id("market_1")
    assert not is_package_id("market_1:" + "0A" * 32)
    assert not is_package_id("market_1:" + "0a" * 31)
    assert not is_package_id(":" + "0a" * 32)
