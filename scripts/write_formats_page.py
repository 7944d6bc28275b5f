"""Write the tables of `docs/formats.md` from the registry of formats."""

from __future__ import annotations

import typing
from pathlib import Path

from napari_sampath.formats.format import Format, Kept
from napari_sampath.formats.registry import formats

PAGE = Path(__file__).parents[1] / "docs" / "formats.md"
START, END = "<!-- start of the tables -->", "<!-- end of the tables -->"


def tables() -> str:
    """Return the tables of all formats and of what written files keep, as Markdown."""
    entries = sorted(formats().values(), key=lambda entry: entry.label.casefold())
    rows = [
        "| format | name | files | read | written | for | not kept or not read |",
        "|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {entry.label} | `{entry.name}` | {_files(entry)} | {_mark(entry.read or entry.reader)} "
        f"| {_mark(entry.write)} | {entry.summary} | {entry.lost} |"
        for entry in entries
    ]
    kinds = typing.get_args(Kept)
    rows += ["", "Reading a file that was written gives back:", ""]
    rows += [f"| format | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    rows += [
        f"| {entry.label} | {' | '.join(_mark(kind in entry.keeps) for kind in kinds)} |"
        for entry in entries
        if entry.write is not None
    ]
    return "\n".join(rows)


def page(text: str) -> str:
    """Return the page with new tables."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{tables()}\n\n{END}{after}"


def _files(entry: Format) -> str:
    return ", ".join("a folder" if suffix == "/" else f"`{suffix}`" for suffix in entry.suffixes)


def _mark(value: object) -> str:
    return "yes" if value else ""


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
