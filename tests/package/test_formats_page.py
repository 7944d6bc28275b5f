from __future__ import annotations

import importlib.util
from pathlib import Path

from napari_sampath.formats.registry import formats

ROOT = Path(__file__).parents[2]


def test_the_page_of_formats_is_written_from_the_registry() -> None:
    path = ROOT / "scripts" / "write_formats_page.py"
    spec = importlib.util.spec_from_file_location("write_formats_page", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = script.PAGE.read_text(encoding="utf-8")
    assert script.page(text) == text, "run python scripts/write_formats_page.py"
    assert all(f"`{name}`" in text for name in formats())
