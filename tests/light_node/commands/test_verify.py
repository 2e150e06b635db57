"""``light-node verify`` on the blocks of live channels, whole and spoiled."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from light_node import cli
from light_node.fabric.pb import common_pb2

KINDS, FORMS = ("raft", "bft"), ("full", "headers")


class Case:
    """A copy of a channel's blocks, to be spoiled and verified."""

    def __init__(self, source: Path, folder: Path, capsys: Any) -> None:
        self.source, self.folder, self._capsys = source, folder, capsys
        shutil.copytree(source, folder)
        self.trust = source.parent / "full" / "0000.block"

    def path(self, number: int) -> Path:
        return self.folder / f"{number:04}.block"

    def change(self, number: int, change: Callable[[common_pb2.Block], Any]) -> None:
        message = common_pb2.Block.FromString(self.path(number).read_bytes())
        change(message)
        self.path(number).write_bytes(message.SerializeToString())

    def run(self, *, trust: Path | None = None) -> tuple[int, Any]:
        arguments = ["verify", "--json", "--trust", str(trust or self.trust), str(self.folder)]
        code = cli.main(arguments)
        return code, json.loads(self._capsys.readouterr().out)

    def verdicts(self) -> tuple[int, list[str], Any]:
        code, out = self.run()
        return code, [block["verdict"] for block in out["blocks"]], out


@pytest.fixture(params=[(k, f) for k in KINDS for f in FORMS], ids=lambda p: f"{p[0]}-{p[1]}")
def case(request: pytest.FixtureRequest, data: Path, tmp_path: Path, capsys: Any) -> Case:
    kind, form = request.param
    return Case(data / "fabric" / kind / form, tmp_path / "blocks", capsys)


@pytest.fixture
def full(data: Path, tmp_path: Path, capsys: Any) -> Case:
    return Case(data / "fabric" / "bft" / "full", tmp_path / "blocks", capsys)


def split(verdicts: list[str], at: int) -> tuple[set[str], str, set[str]]:
    return set(verdicts[:at]), verdicts[at], set(verdicts[at + 1 :])


def test_all_blocks_of_a_live_channel_are_verified(case: Case) -> None:
    code, verdicts, out = case.verdicts()
    assert (code, set(verdicts)) == (0, {"verified"})
    assert out["ok"] is True
    assert out["height"] == len(verdicts) == len(list(case.folder.iterdir()))
    assert [block["number"] for block in out["blocks"]] == list(range(len(verdicts)))
    assert all(len(block["hash"]) == 64 and block["reason"] is None for block in out["blocks"])
    assert set(out) == {"blocks", "height", "ok"}
    assert set(out["blocks"][0]) == {"number", "hash", "verdict", "reason"}


def test_a_later_configuration_block_may_be_the_trust_root(case: Case) -> None:
    """What lies before it is proved by the hash links back from it."""
    code, out = case.run(trust=case.path(11))
    assert code == 0
    assert {block["verdict"] for block in out["blocks"]} == {"verified"}
    case.change(5, lambda b: setattr(b.header, "data_hash", bytes(32)))
    code, out = case.run(trust=case.path(11))
    verdicts = [block["verdict"] for block in out["blocks"]]
    assert code == 1
    assert split(verdicts, 5) == ({"unlinked"}, "rejected", {"verified"})


def test_the_wrong_channels_root_rejects(case: Case, data: Path) -> None:
    other = "bft" if "raft" in case.source.parts else "raft"
    code, out = case.run(trust=data / "fabric" / other / "full" / "0000.block")
    assert code == 1
    assert not out["ok"]
    assert out["height"] == 1
    assert out["blocks"][0]["verdict"] == out["blocks"][1]["verdict"] == "rejected"
    assert "verified" not in {block["verdict"] for block in out["blocks"]}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda b: setattr(b.header, "number", 7), id="number"),
        pytest.param(lambda b: setattr(b.header, "number", 500), id="number far off"),
        pytest.param(lambda b: setattr(b.header, "previous_hash", bytes(32)), id="previous hash"),
        pytest.param(lambda b: setattr(b.header, "data_hash", bytes(32)), id="data hash"),
        pytest.param(lambda b: b.metadata.metadata.pop(), id="metadata entry"),
        pytest.param(lambda b: b.ClearField("metadata"), id="metadata"),
        pytest.param(lambda b: b.ClearField("header"), id="header"),
        pytest.param(lambda b: b.metadata.metadata.__setitem__(0, b""), id="signatures"),
    ],
)
def test_an_altered_block_is_rejected_and_what_follows_is_unlinked(
    case: Case, change: Callable[[common_pb2.Block], Any]
) -> None:
    case.change(6, change)
    code, verdicts, out = case.verdicts()
    assert (code, out["ok"], out["height"]) == (1, False, 6)
    assert split(verdicts, 6) == ({"verified"}, "rejected", {"unlinked"})
    assert out["blocks"][6]["reason"]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda raw: raw[:-1], id="a byte short"),
        pytest.param(lambda raw: raw[: len(raw) // 2], id="half"),
        pytest.param(lambda raw: b"", id="empty"),
        pytest.param(lambda raw: b"this is no block\n" * 10, id="text"),
        pytest.param(lambda raw: raw + b"\xff", id="a byte more"),
    ],
)
def test_a_truncated_or_foreign_file_is_rejected(
    case: Case, spoil: Callable[[bytes], bytes]
) -> None:
    raw = case.path(9).read_bytes()
    case.path(9).write_bytes(spoil(raw))
    code, verdicts, out = case.verdicts()
    assert (code, out["height"]) == (1, 9)
    assert split(verdicts, 9) == ({"verified"}, "rejected", {"unlinked"})
    assert out["blocks"][9]["number"] is None
    assert out["blocks"][9]["hash"] is None
    assert out["blocks"][9]["reason"]


def test_altered_data_is_rejected_wherever_it_stands(full: Case) -> None:
    def flip(block: common_pb2.Block) -> None:
        data = bytearray(block.data.data[0])
        data[len(data) // 2] ^= 1
        block.data.data[0] = bytes(data)

    full.change(4, flip)
    full.change(8, flip)  # beyond the gap that block 4 leaves
    code, verdicts, out = full.verdicts()
    assert code == 1
    assert [n for n, v in enumerate(verdicts) if v == "rejected"] == [4, 8]
    assert "altered" in out["blocks"][8]["reason"]


@pytest.mark.parametrize("entry", [2, 4])
def test_altered_flags_and_commit_hash_are_rejected_in_full_blocks(full: Case, entry: int) -> None:
    def flip(block: common_pb2.Block) -> None:
        data = bytearray(block.metadata.metadata[entry])
        data[-1] ^= 1
        block.metadata.metadata[entry] = bytes(data)

    full.change(7, flip)
    code, verdicts, out = full.verdicts()
    assert (code, verdicts[7]) == (1, "rejected")
    assert "commit hash" in out["blocks"][7]["reason"]


def test_a_missing_block_leaves_the_rest_unlinked(case: Case) -> None:
    case.path(3).unlink()
    code, verdicts, out = case.verdicts()
    assert (verdicts[:3], set(verdicts[3:])) == (["verified"] * 3, {"unlinked"})
    assert (code, out["ok"], out["height"]) == (0, False, 3)  # nothing is rejected
    assert "block 3 is not verified" in out["blocks"][3]["reason"]


def test_a_forged_block_beyond_a_gap_is_rejected_not_unlinked(case: Case) -> None:
    case.path(3).unlink()
    case.change(5, lambda b: setattr(b.header, "previous_hash", bytes(32)))
    _, verdicts, _ = case.verdicts()
    assert verdicts[4] == "rejected"  # file 0005: one is missing before it


def test_a_missing_configuration_block_is_not_skipped(case: Case) -> None:
    case.path(11).unlink()
    code, verdicts, out = case.verdicts()
    assert (code, out["ok"], out["height"]) == (0, False, 11)
    assert set(verdicts[11:]) == {"unlinked"}


def test_a_good_copy_under_another_name_closes_the_gap(case: Case) -> None:
    shutil.copy(case.path(6), case.folder / "copy-of-6.block")
    case.path(6).write_bytes(b"spoiled")
    code, verdicts, out = case.verdicts()
    assert code == 1
    assert verdicts.count("rejected") == 1
    assert verdicts.count("verified") == len(verdicts) - 1
    assert out["height"] == len(verdicts) - 1


def test_names_need_not_follow_numbers(case: Case) -> None:
    names = {n: case.folder / f"{99 - n}.block" for n in range(17)}
    for number, path in names.items():
        case.path(number).rename(path)
    code, out = case.run()
    assert code == 0
    order = [path.name for path in sorted(case.folder.iterdir())]
    assert len(out["blocks"]) == len(order)
    assert [b["number"] for b in out["blocks"]][-17:] == list(range(16, -1, -1))


def test_two_histories_of_one_number_are_told_apart(full: Case) -> None:
    full.change(16, lambda b: setattr(b.header, "data_hash", bytes(32)))
    full.path(16).rename(full.folder / "z-forged.block")
    shutil.copy(full.source / "0016.block", full.path(16))
    _, verdicts, _ = full.verdicts()
    assert verdicts[16:] == ["verified", "rejected"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["verify"], "--trust"),
        (["verify", "--trust", "{block}"], "DIR"),
        (["verify", "--trust", "{block}", "{nowhere}"], "cannot read"),
        (["verify", "--trust", "{nowhere}", "{folder}"], "cannot read"),
        (["verify", "--trust", "{ordinary}", "{folder}"], "not a configuration block"),
        (["verify", "--trust", "{text}", "{folder}"], "no usable trust root"),
        (["verify", "--trust", "{block}", "{empty}"], "no *.block files"),
    ],
)
def test_bad_usage_is_said_in_one_line(
    full: Case, tmp_path: Path, capsys: Any, arguments: list[str], complaint: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("hello")
    places = {
        "block": full.trust, "nowhere": tmp_path / "nowhere", "folder": full.folder,
        "ordinary": full.path(1), "text": tmp_path / "text", "empty": tmp_path / "empty",
    }  # fmt: skip
    try:
        code = cli.main([a.format(**places) for a in arguments])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else -1
    captured = capsys.readouterr()
    assert code == 2
    assert complaint in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


def test_the_trust_root_may_come_from_standard_input(
    full: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    stdin = io.TextIOWrapper(io.BytesIO(full.trust.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    code, out = full.run(trust=Path("-"))
    assert (code, out["ok"]) == (0, True)


def test_people_get_sentences(full: Case, capsys: Any) -> None:
    arguments = ["verify", "--trust", str(full.trust), str(full.folder)]
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    assert "All blocks of the folder are verified: 17; the chain reaches height 17." in text
    assert "fingerprint" in text
    full.path(2).write_bytes(b"")
    assert cli.main(arguments) == 1
    text = capsys.readouterr().out
    assert "1 rejected, 14 unlinked of 17 blocks" in text
    assert "empty" in text
