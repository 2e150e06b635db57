"""Commands for people follow the user's language; what programs read stays as it is."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from light_node import cli, i18n
from light_node.chain import errors, quarantine
from light_node.chain.status import PeerState, PeerStatus, SyncStatus
from light_node.chain.tracker import waiting_for
from light_node.commands import status, sync
from light_node.fabric.errors import Unavailable
from light_node.i18n import Text

FORK = errors.Fork(7, b"\x01" * 32, b"\x02" * 32, "Org2MSP")
SILENT = PeerStatus(
    "Org2MSP",
    "127.0.0.1:8051",
    "orderer",
    PeerState.UNREACHABLE,
    error=Unavailable(Text("the connection was closed")).text,
)
STATUS = SyncStatus("market", "AAAA", None, 7, peers=(SILENT,), problem=FORK.text, fork=FORK)


@pytest.fixture(autouse=True)
def _english_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PROSUMER_LANG", "zh_CN")
    yield
    i18n.use_language("en")


@pytest.mark.parametrize(
    "command", ["audit SLOT", "peers", "prove TX --out F", "root show", "run", "status", "sync"]
)
def test_a_command_says_what_is_wrong_in_the_users_language(command: str, capsys: Any) -> None:
    assert cli.main([*command.split(), "--profile", "/none/profile.json"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"light-node {command.split()[0]}: 无法读取网络配置文件")
    assert "没有该文件或目录" in shown


def test_evidence_is_listed_in_it(tmp_path: Any, capsys: Any) -> None:
    quarantine.add(
        tmp_path, "Org2MSP", quarantine.Case(7, "2026-06-21T10:00:00+00:00", "", "flags")
    )
    assert cli.main(["evidence", "list", "--dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Org2MSP: 自 2026-06-21 10:00 UTC 起被隔离：它为区块 7 所称的提交哈希")
    assert cli.main(["evidence", "list", "--dir", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["quarantine"]["Org2MSP"]["kind"] == "flags"


def test_an_organisation_that_is_shut_out_is_not_said_to_be_connected(capsys: Any) -> None:
    case = quarantine.Case(7, "2026-06-21T10:00:00+00:00", "", "flags")
    shut = replace(SILENT, state=PeerState.DISAGREES, agrees=False, error=case.text)
    i18n.use_language("en")
    sync.print_for_people(replace(STATUS, peers=(shut,)))
    assert "  Org2MSP 127.0.0.1:8051 (orderer): in quarantine\n" in capsys.readouterr().out


def test_a_status_is_told_in_it_and_its_json_is_english_with_its_parts(capsys: Any) -> None:
    i18n.use_language()
    sync.print_for_people(STATUS)
    shown = capsys.readouterr().out
    assert "Org2MSP 127.0.0.1:8051（排序节点）：无法连接，未知" in shown
    assert "连接已关闭" in shown
    assert "问题：出现两条历史：区块 7" in shown
    found = sync.status_json(STATUS)
    assert found["problem"].startswith("two histories: block 7")
    assert found["said"]["problem"]["kind"] == "Fork"
    assert found["said"]["problem"]["fields"]["organization"] == "Org2MSP"
    assert found["peers"][0]["said"]["kind"] == "Unavailable"


def test_another_processs_status_is_told_in_it(capsys: Any) -> None:
    i18n.use_language()
    waits = replace(STATUS, problem=Text(""), waiting_for=waiting_for([], 0, None))
    for told, words in ((STATUS, "问题：出现两条历史：区块 7"), (waits, "正在等待：")):
        kept = json.loads(json.dumps(sync.status_json(told)))
        assert words in status._doing({**kept, "agreed_height": 1})
    old = json.loads(json.dumps(sync.status_json(STATUS)))
    assert status._doing({**old, "said": {}}).startswith("问题：two histories")
