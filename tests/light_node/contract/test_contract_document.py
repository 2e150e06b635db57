"""docs/contract.md names every function, code, event and key, and none that is not there."""

import re
from pathlib import Path

from light_node.contract import records
from light_node.contract.contract import FUNCTIONS
from light_node.contract.errors import Code

TEXT = (Path(__file__).parents[3] / "docs" / "contract.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_functions() -> None:
    rows = section("Transactions") + section("Queries")
    cells = re.findall(r"^\| (`[A-Z].*?`) \|", rows, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(FUNCTIONS)


def test_codes_with_their_status() -> None:
    rows = re.findall(r"^\| (4\d\d) \| (.*) \|$", section("Refusals"), re.MULTILINE)
    named = {(code, int(status)) for status, cell in rows for code in re.findall(r"`(\w+)`", cell)}
    assert named == {(code.name, code.status) for code in Code}


def test_keys() -> None:
    named = set(re.findall(r"^\| `(\w+)` ", section("Keys"), re.MULTILINE))
    types = {value for name, value in vars(records).items() if name.isupper() and name != "PAGE"}
    assert named == types
