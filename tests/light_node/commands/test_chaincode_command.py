"""``light-node chaincode``: the package's id, a server as a process, and what is refused."""

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from light_node import cli
from light_node.devnet.certificates import Credential, issue_tls, new_root
from light_node.fabric import crypto

ID = "market_1:" + "0a" * 32
WAIT = 60.0


@pytest.fixture
def certificate() -> Credential:
    root = new_root("root", "Org1", datetime.now(UTC))
    key, after = crypto.generate_key(), datetime.now(UTC) + timedelta(days=1)
    return Credential(issue_tls(root, key.public_key(), "cc", ["127.0.0.1"], after), key)


@pytest.fixture
def files(tmp_path: Path, certificate: Credential) -> tuple[str, str]:
    """The names of a certificate's file and its key's."""
    (tmp_path / "cert.pem").write_bytes(certificate.certificate_pem)
    (tmp_path / "key.pem").write_bytes(certificate.key_pem)
    return str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")


@pytest.fixture
def server() -> Iterator[subprocess.Popen[str]]:
    code = "import sys; from light_node.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "chaincode", "--address", "127.0.0.1:0",
         "--package-id", ID, "--operations", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


def package(tmp_path: Path, *arguments: str) -> int:
    output = str(tmp_path / "p.tgz")
    return cli.main(["chaincode", "package", "--label", "m_1", "-o", output, *arguments])


def test_the_same_package_has_the_same_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], files: tuple[str, str]
) -> None:
    arguments = ["--address", "{{.host}}:7", "--tls-root-cert", files[0]]
    ids = []
    for _ in range(2):
        assert package(tmp_path, *arguments) == 0
        ids.append(capsys.readouterr().out)
    assert ids[0] == ids[1]
    assert ids[0].startswith("m_1:")
    assert package(tmp_path, *arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out)["package_id"] == ids[0].strip()


def test_a_package_with_a_key_is_the_owners_alone(tmp_path: Path, files: tuple[str, str]) -> None:
    assert (
        package(
            tmp_path, "--address", "h:7", "--tls-root-cert", files[0],
            "--client-cert", files[0], "--client-key", files[1],
        )
        == 0
    )  # fmt: skip
    if sys.platform != "win32":
        assert (tmp_path / "p.tgz").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--address", "nowhere"], "host:port"),
        (["--address", "h:7", "--tls-root-cert", "absent.pem"], "absent.pem"),
        (["--address", "h:7", "--tls-root-cert", "{{.root}}", "--client-cert", "{{.c}}"], "key"),
        (["--address", "h:7", "--dial-timeout", "soon"], "10s"),
    ],
)
def test_a_package_nobody_could_use_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert package(tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "p.tgz").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--address"),
        (["--address", "h:7"], "--package-id"),
        (["--address", "h", "--package-id", ID], "--address"),
        (["--address", "h:7", "--package-id", "m"], "--package-id"),
        (["--address", "h:7", "--package-id", ID, "--tls-cert", "c"], "--tls-key"),
        (["--address", "h:7", "--package-id", ID, "--client-ca", "c"], "--client-ca"),
        (["--address", "h:7", "--package-id", ID, "--drain-seconds", "-1"], "--drain-seconds"),
        (["--address", "127.0.0.1:0", "--package-id", ID, "--operations", "x"], "--operations"),
        (["--address", "127.0.0.1:0", "--package-id", ID, "--tls-cert", "a", "--tls-key", "b"],
         "cannot read a"),
        (["--address", "192.0.2.1:7", "--package-id", ID], "cannot listen on 192.0.2.1:7"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str],
    said: str,
) -> None:  # fmt: skip
    monkeypatch.delenv("CHAINCODE_SERVER_ADDRESS", raising=False)
    monkeypatch.delenv("CHAINCODE_ID", raising=False)
    assert cli.main(["chaincode", *arguments]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_key_that_is_not_the_certificates_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, files: tuple[str, str]
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(crypto.private_key_pem(crypto.generate_key()))
    arguments = ["--address", "127.0.0.1:0", "--package-id", ID]
    assert cli.main(["chaincode", *arguments, "--tls-cert", files[0], "--tls-key", str(other)]) == 2
    assert "--tls-key is not the key of --tls-cert" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process there")
def test_a_process_serves_until_it_is_told_to_stop(server: subprocess.Popen[str]) -> None:
    assert server.stdout is not None
    ready: dict[str, Any] = json.loads(server.stdout.readline())
    assert ready["package_id"] == ID
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{ready['operations']}/healthz", timeout=WAIT) as answer:
        assert answer.read() == b"ok\n"
    server.send_signal(signal.SIGTERM)
    assert server.wait(WAIT) == 0
