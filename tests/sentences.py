"""Finds the sentences a package says, for the tests that hold its catalogue against them."""

import ast
import string
from collections.abc import Iterator, Mapping
from pathlib import Path

SAYERS = ("tr", "Text")

Used = dict[str, list[tuple[str, set[str] | None]]]
"""Each sentence, with where it is said and the names of the fields given (None: ``**``)."""


def constants(node: ast.AST) -> list[str]:
    return [
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def sentences(text: str, name: str) -> Iterator[tuple[str, set[str] | None]]:
    """Yield every English sentence given to tr() or Text() with the names of its fields.

    A variable is allowed where the same function assigns it nothing but literals; any is in the
    module that defines them.
    """
    tree = ast.parse(text)
    says, defines = _sayers(tree)
    scopes: list[ast.AST] = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    seen: set[ast.Call] = set()
    for scope in [*scopes, tree]:
        for call in ast.walk(scope):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            if call.func.id not in says or call in seen:
                continue
            seen.add(call)
            fields = {keyword.arg for keyword in call.keywords}
            given = None if None in fields else {str(field) for field in fields}
            argument = call.args[0]
            found = [argument.value] if isinstance(argument, ast.Constant) else []
            if isinstance(argument, ast.Name):
                for assigned in ast.walk(scope):
                    if isinstance(assigned, ast.Assign) and any(
                        isinstance(t, ast.Name) and t.id == argument.id for t in assigned.targets
                    ):
                        found += constants(assigned.value)
            assert found or defines, f"{name}:{call.lineno}: a sentence must be a literal"
            for sentence in found:
                yield sentence, given if isinstance(argument, ast.Constant) else None


def _sayers(tree: ast.AST) -> tuple[set[str], bool]:
    """Return what a module says sentences by, and whether it is the one that defines them."""
    nodes = list(ast.walk(tree))
    if any(isinstance(node, ast.ClassDef) and node.name == "SaidError" for node in nodes):
        return {*SAYERS}, True
    imports = [n for n in nodes if isinstance(n, ast.ImportFrom) and str(n.module)[-4:] == "i18n"]
    names = {alias.name for node in imports for alias in node.names}
    return names.intersection(SAYERS), False


def said_in(package: Path) -> Used:
    """Return every sentence of a package's modules."""
    found: Used = {}
    for path in sorted(package.rglob("*.py")):
        for sentence, fields in sentences(path.read_text(encoding="utf-8"), path.name):
            if sentence:
                found.setdefault(sentence, []).append((path.name, fields))
    return found


def fields_of(text: str) -> set[str]:
    """Return the names of a template's places."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def faults(used: Used, catalogue: Mapping[str, str]) -> list[str]:
    """Return what is wrong between the sentences and their catalogue, a line each."""
    wrong = [f"not translated: {key} ({used[key][0][0]})" for key in used if key not in catalogue]
    wrong += [f"said by nobody: {key}" for key in catalogue if key not in used]
    for english, translated in catalogue.items():
        if fields_of(english) != fields_of(translated) or not translated.strip():
            wrong.append(f"other fields: {english}")
    for sentence, places in used.items():
        for name, given in places:
            if given is not None and given != fields_of(sentence):
                wrong.append(f"{name} gives other fields: {sentence}")
    return wrong
