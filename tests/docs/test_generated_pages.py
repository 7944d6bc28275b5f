"""Pages that scripts write from the code are up to date."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from napari_sampath.cli import SUBCOMMANDS
from napari_sampath.formats.registry import formats
from support.paths import ROOT


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_formats_is_written_from_the_registry() -> None:
    module = script("write_formats_page")
    text = module.PAGE.read_text(encoding="utf-8")
    assert module.page(text) == text, "run python scripts/write_formats_page.py"
    assert all(f"`{name}`" in text for name in formats())


def test_the_command_line_reference_is_written_from_the_parsers() -> None:
    module = script("write_cli_reference")
    text = module.PAGE.read_text(encoding="utf-8")
    assert module.page() == text, "run python scripts/write_cli_reference.py"
    assert all(f"\n## sampath {name}\n" in text for name in SUBCOMMANDS)
    assert "`-o, --output FILE`, required" in text
