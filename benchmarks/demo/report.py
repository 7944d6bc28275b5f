"""Report of the demo as Markdown and HTML."""

from __future__ import annotations

import html
import platform
from typing import TYPE_CHECKING

from napari_sampath import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .sample import Sample
    from .walk import Facts, Step

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{padding:.2em .8em;border:1px solid #ccc;text-align:left}
img{max-width:100%;border:1px solid #ccc}.failed{color:#b00020}"""

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""Header and rows."""


def write_report(output: Path, sample: Sample, steps: Sequence[Step], facts: Facts) -> list[Path]:
    """Write report.md and report.html.

    Args:
        output: Folder that holds the screenshots.
        sample: Image of the demo.
        steps: Steps of the walk.
        facts: Measurements.

    Returns:
        The two files.
    """
    lead = (
        f"napari-sampath {__version__}, Python {platform.python_version()}, {platform.system()}. "
        f"Image: {sample.source}. Every step was driven by mouse and key events on the docks and the canvas."
    )
    tables = [("Timings", _timings(facts)), ("Scores", _scores(facts)), ("Files", _files(facts, output))]
    markdown, page = output / "report.md", output / "report.html"
    markdown.write_text(_markdown(lead, tables, steps), encoding="utf-8")
    page.write_text(_html(lead, tables, steps), encoding="utf-8")
    return [markdown, page]


def _timings(facts: Facts) -> Table:
    rows: list[tuple[str, ...]] = [
        (name, f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.2f} s")
        for name, seconds in facts.seconds.items()
    ]
    return ("step", "time"), rows


def _scores(facts: Facts) -> Table:
    rows = [
        (prompt, *("" if value is None else f"{value:.3f}" for value in values))
        for prompt, *values in facts.scores
    ]
    return ("prompt", "predicted IoU", "IoU with the true mask"), rows


def _files(facts: Facts, output: Path) -> Table:
    rows: list[tuple[str, ...]] = [
        (path.relative_to(output).as_posix(), f"{path.stat().st_size:,} bytes") for path in facts.files
    ]
    return ("file", "size"), rows


def _markdown(lead: str, tables: Sequence[tuple[str, Table]], steps: Sequence[Step]) -> str:
    lines = ["# Demo report", "", lead, ""]
    for title, (header, rows) in tables:
        lines += [f"## {title}", "", f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
        lines += [f"| {' | '.join(row)} |" for row in rows] + [""]
    lines += ["## Steps", ""]
    for number, step in enumerate(steps, start=1):
        lines += [
            f"### {number}. {step.title}",
            "",
            f"**Failed:** {step.error}" if step.error else step.text,
            "",
        ]
        if step.screenshot:
            lines += [f"![{step.title}]({step.screenshot})", ""]
    return "\n".join(lines)


def _html(lead: str, tables: Sequence[tuple[str, Table]], steps: Sequence[Step]) -> str:
    parts = [f"<h1>Demo report</h1><p>{html.escape(lead)}</p>"]
    for title, (header, rows) in tables:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        parts.append(f"<h2>{title}</h2><table><tr>{head}</tr>{body}</table>")
    parts.append("<h2>Steps</h2>")
    for number, step in enumerate(steps, start=1):
        parts.append(f"<h3>{number}. {html.escape(step.title)}</h3>")
        text = (
            f'<span class="failed">Failed: {html.escape(step.error)}</span>'
            if step.error
            else html.escape(step.text)
        )
        parts.append(f"<p>{text}</p>")
        if step.screenshot:
            parts.append(f'<img src="{html.escape(step.screenshot)}" alt="{html.escape(step.title)}">')
    head = f"<meta charset='utf-8'><title>napari-sampath demo</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"
