"""Pages of the documentation: navigation, anchors, names in code blocks, labels of the window, and images."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.paths import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
MAX_PICTURE_BYTES = 1_000_000
OTHER_LABELS = {
    *("Miniforge Prompt", "PowerShell", "Command Prompt"),
    *("Plugins", "Install/Uninstall Plugins", "Save layers", "Preferences"),  # napari
    *("Export objects as GeoJSON", "Save masks"),  # QuPath and Cellpose
    *("WhiteIsZero", "Lasso"),  # a TIFF tag; a label that is made of the name of its mode
}
"""Words in italics that are not in the source of the window."""


def ids(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def navigation(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            if isinstance(value, list):
                yield from navigation(value)
            else:
                yield value


def test_all_pages_are_in_the_navigation() -> None:
    class Loader(yaml.SafeLoader):
        """Ignores the tags of mkdocs."""

    Loader.add_multi_constructor("!", lambda *_: None)
    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    listed = list(navigation(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"]))
    assert len(listed) == len(set(listed))
    assert set(listed) == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings and HTML elements of a page, as mkdocs writes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    slugs = (re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings)
    return {re.sub(r"[-\s]+", "-", slug) for slug in slugs} | set(re.findall(r'id="([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file) if file else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_code_uses_names_and_arguments_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"^::: (\S+)", text, re.MULTILINE):
        assert resolve(name) is not None, name
    for program in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        tree = ast.parse(program)
        names: dict[str, Any] = {"ns": importlib.import_module("napari_sampath")}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari_sampath"):
                for alias in node.names:
                    names[alias.asname or alias.name] = resolve(f"{node.module}.{alias.name}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ns":
                assert hasattr(names["ns"], node.attr), f"ns.{node.attr}"
            if isinstance(node, ast.Call):
                check_arguments(node, names)


def check_arguments(call: ast.Call, names: dict[str, Any]) -> None:
    """Check the arguments of a call of a function or class of the package."""
    parts = ast.unparse(call.func).split(".")
    target = names.get(parts[0])
    for part in parts[1:]:
        target = getattr(target, part, None)
    starred = any(isinstance(argument, ast.Starred) for argument in call.args)
    if callable(target) and not starred and all(keyword.arg for keyword in call.keywords):
        inspect.signature(target).bind(*call.args, **{str(word.arg): 0 for word in call.keywords})


def resolve(name: str) -> Any:
    """Return the object of a dotted name."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            target: Any = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            target = getattr(target, part)
        return target
    raise AssertionError(f"{name} does not exist")


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=ids)
def test_labels_of_the_window_exist(page: Path) -> None:
    """Words in italics that begin with a capital letter are labels of buttons, tabs and menus."""
    sources = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py")))
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for label in re.findall(r"(?<![*\w\\])\*([A-Z][^*]+)\*(?!\*)", text):
        for part in " ".join(label.split()).replace("…", "").split(" > "):
            assert part in OTHER_LABELS or part in sources, part


def test_help_of_every_tab_leads_to_a_section_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = pytest.importorskip("napari_sampath.widgets.panel.panel", reason="needs the extra 'gui'")
    help_pages = importlib.import_module("napari_sampath.widgets.panel.help_pages")
    assert set(help_pages.PAGES) == set(panel.TABS)
    for page in help_pages.PAGES.values():
        file, _, anchor = page.partition("#")
        assert not anchor or anchor in anchors(DOCS / file), page
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"][
        "Documentation"
    ]
    for address, expected in (
        (stated, f"{stated.removesuffix('index.md')}a.md#b"),
        ("https://example.org/latest/", "https://example.org/latest/a/#b"),
        (None, ""),
    ):
        links = {"Project-URL": [f"Documentation, {address}"] if address else None}
        metadata = argparse.Namespace(get_all=links.get)
        monkeypatch.setattr(help_pages.importlib.metadata, "metadata", lambda _name, found=metadata: found)
        assert help_pages.page_address("a.md#b") == expected


def test_pictures_are_small_and_used() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in sorted((DOCS / "images").iterdir()):
        assert picture.stat().st_size < MAX_PICTURE_BYTES, picture.name
        assert f"images/{picture.name}" in shown, f"no page shows {picture.name}"
