"""The limits on the size of folders, files and functions, and the absence of import cycles."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from support.paths import ROOT

SOURCE = ROOT / "src" / "napari_sampath"
MODULES = sorted(SOURCE.rglob("*.py"))
MAX_FILES_PER_FOLDER = 15
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60


@pytest.mark.parametrize("top", ["src", "tests"])
def test_folders_are_small(top: str) -> None:
    files = [path for path in (ROOT / top).rglob("*") if path.is_file() and not is_generated(path)]
    assert files
    sizes = Counter(path.parent.relative_to(ROOT).as_posix() for path in files)
    assert {folder: size for folder, size in sizes.items() if size > MAX_FILES_PER_FOLDER} == {}


def test_files_are_short() -> None:
    lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_functions_are_short() -> None:
    long = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    long[f"{relative(path)}:{node.lineno} {node.name}"] = length
    assert long == {}


@pytest.mark.parametrize("type_checking", [False, True])
def test_no_import_cycles_found_by_grimp(type_checking: bool) -> None:
    """Grimp reads every import statement, also those in functions."""
    grimp = pytest.importorskip("grimp", reason="comes with import-linter")
    graph = grimp.build_graph(
        "napari_sampath", exclude_type_checking_imports=not type_checking, cache_dir=None
    )
    imports = {
        module: set(graph.find_modules_directly_imported_by(module)) & graph.modules
        for module in graph.modules
    }
    assert import_cycles(imports) == []


def test_no_import_cycles_in_the_syntax_trees() -> None:
    """Counts imports in functions and under TYPE_CHECKING, too."""
    imports = {module_name(path): imported_modules(path) for path in MODULES}
    assert import_cycles(imports) == []


def test_cycles_are_reported_with_their_path() -> None:
    imports = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e"}}
    assert import_cycles(imports) == ["b -> c -> b", "e -> e"]


def is_generated(path: Path) -> bool:
    return "__pycache__" in path.parts or path.name.startswith(".")


def relative(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in MODULES}


def imported_modules(path: Path) -> set[str]:
    """Return the modules of the package that a module imports anywhere in its source."""
    name = module_name(path)
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*parent, *([node.module] if node.module else [])])
            # `from .package import module` imports the module, `from .module import name` the one it is in.
            for alias in node.names:
                member = f"{source}.{alias.name}"
                modules.add(member if member in NAMES else source)
    return modules & NAMES


def import_cycles(imports: dict[str, set[str]]) -> list[str]:
    """Return one path such as "a -> b -> a" for each group of modules that import each other."""
    cycles, covered = [], set()
    for start in sorted(imports):
        if start not in covered and (path := shortest_cycle(start, imports)):
            cycles.append(" -> ".join(path))
            covered.update(path)
    return cycles


def shortest_cycle(start: str, imports: dict[str, set[str]]) -> list[str]:
    """Return the shortest way from a module back to itself, breadth first; empty if there is none."""
    paths, visited = [[start]], set()
    while paths:
        longer = []
        for path in paths:
            for name in sorted(imports.get(path[-1], ())):
                if name == start:
                    return [*path, start]
                if name not in visited:
                    visited.add(name)
                    longer.append([*path, name])
        paths = longer
    return []
