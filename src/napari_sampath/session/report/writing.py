"""The report of a project as one HTML file; pictures and charts are inside it, and it loads nothing."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import datetime
from html import escape
from pathlib import Path

from PIL import Image

from ...arrays import ClassInfo, UInt8Array
from ...errors import DatasetError
from ...files import write_atomically
from ...files.messages import plural
from ...jobs import Job, Progress
from ..project.project import Project
from .charts import bars, line_chart
from .content import ClassRow, ImageRow, class_rows, rows_job
from .heads import HeadRow, read_heads

_STYLE = """
:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;
color:#222;background:#fff}h1{margin-bottom:.2rem}h2{margin-top:2.2rem;border-bottom:2px solid #eee}
.sub{color:#555;margin-top:0}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;text-align:left;border-bottom:1px solid #ddd;
font-weight:400}thead th{font-weight:600;color:#333}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.key{display:inline-block;width:.8rem;height:.8rem;border-radius:2px;margin-right:.4rem;vertical-align:-1px}
.cards{display:flex;flex-wrap:wrap;gap:1rem}.card{border:1px solid #ddd;border-radius:6px;padding:.6rem 1rem;
min-width:7rem}.card b{display:block;font-size:1.5rem}
figure{display:inline-block;margin:.5rem 1rem .5rem 0;vertical-align:top}
img{max-width:100%;display:block}figcaption{font-size:.85rem;color:#555;max-width:26rem}
.bars td:nth-child(2){width:24rem}
.bars th,.bars td{border:0}.bar{height:1rem;border-radius:2px}.chart{font-size:11px;fill:#444;margin-right:1rem}
.chart .t{font-size:13px;font-weight:600}.warn{background:#fff6e0;border-left:4px solid #e69f00;padding:.5rem .8rem}
.scroll{overflow-x:auto}@media print{h2{break-after:avoid}figure,tr{break-inside:avoid}}
"""


def report_job(project: Project, target: Path, sessions_dir: Path) -> Job[Path]:
    """Make a job that writes the report of a project: counts, areas, review, heads and learning curves.

    Args:
        project: The project.
        target: The HTML file; replaced if it exists.
        sessions_dir: Folder of the journals.

    Raises:
        DatasetError: If the name of the file does not end in `.html`.
        StorageError: If it cannot be written.
    """
    target = target.expanduser()
    if target.suffix.lower() not in (".html", ".htm"):
        raise DatasetError(f"'{target.name}' must end in .html; choose another name for the report.")
    classes, rows = yield from rows_job(project, sessions_dir)
    yield Progress(len(rows), max(1, len(rows)), "Reading the heads", "images")
    content = page(project, classes, rows, read_heads(project.path)).encode("utf-8", "xmlcharrefreplace")
    write_atomically(target, lambda stream: stream.write(content))
    return target


def page(
    project: Project, classes: tuple[ClassInfo, ...], rows: Sequence[ImageRow], heads: Sequence[HeadRow]
) -> str:
    """Return the HTML."""
    title = escape(project.name)
    now = datetime.now().astimezone()
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body>",
        f'<h1>{title}</h1><p class="sub">Report of {now:%d %B %Y, %H:%M}, made with napari-sampath</p>',
        f"<p>{escape(project.notes)}</p>" if project.notes else "",
        _summary(rows),
        _review(rows),
        _classes(class_rows(classes, list(rows)), rows),
        _images(classes, rows),
        _pictures(classes, rows),
        _heads(heads),
        "</body></html>\n",
    ]
    return "\n".join(part for part in parts if part)


def area_text(area_um2: float) -> str:
    """Format an area: in mm² if it is at least 0.1 mm², otherwise in µm²."""
    return f"{area_um2 / 1e6:,.2f} mm²" if area_um2 >= 1e5 else f"{area_um2:,.0f} µm²"


def _summary(rows: Sequence[ImageRow]) -> str:
    objects = sum(row.objects.total() for row in rows)
    facts = [
        (f"{len(rows):,}", "images"),
        (f"{sum(row.objects.total() > 0 for row in rows):,}", "annotated images"),
        (f"{len({row.slide for row in rows}):,}", "slides or cases"),
        (f"{objects:,}", "objects"),
        (f"{sum(row.training for row in rows):,}", "in the training set"),
    ]
    cards = "".join(f'<div class="card"><b>{value}</b>{name}</div>' for value, name in facts)
    return f'<div class="cards">{cards}</div>'


def _review(rows: Sequence[ImageRow]) -> str:
    unreviewed, unsure = sum(row.unreviewed for row in rows), sum(row.unsure for row in rows)
    pixels = sum(row.hw[0] * row.hw[1] for row in rows if not row.problem)
    verified = sum(row.verified_share * row.hw[0] * row.hw[1] for row in rows)
    total = sum(row.objects.total() for row in rows)
    share = f" {100 * verified / pixels:.1f} % of all pixels are verified." if pixels else ""
    text = f"{unreviewed:,} of {plural(total, 'object')} were never reviewed by a person; "
    text += f"{unsure:,} are marked as unsure.{share}"
    problems = "".join(
        f'<p class="warn">{escape(row.name)}: {escape(row.problem)}</p>' for row in rows if row.problem
    )
    return f"<h2>Review</h2><p{' class=warn' if unreviewed else ''}>{text}</p>{problems}"


def _classes(classes: Sequence[ClassRow], rows: Sequence[ImageRow]) -> str:
    body = []
    for row in classes:
        mean = area_text(row.area_um2 / row.objects_with_scale) if row.objects_with_scale else "-"
        body.append(
            [
                _key(row.info),
                f"{row.objects:,}",
                f"{row.images:,}",
                f"{row.area_px:,}",
                area_text(row.area_um2) if row.objects_with_scale else "-",
                mean,
            ]
        )
    unknown = sum(row.mpp is None for row in rows if row.objects)
    note = (
        f"<p>The scale of {plural(unknown, 'image')} is unknown; their objects have no area in µm².</p>"
        if unknown
        else ""
    )
    head = ["Class", "Objects", "Images", "Area (px)", "Area", "Mean area of an object"]
    chart = bars([(row.info.name, float(row.objects), _hex(row.info)) for row in classes if row.objects])
    return f"<h2>Classes</h2>{_table(head, body)}{chart}{note}"


def _images(classes: Sequence[ClassInfo], rows: Sequence[ImageRow]) -> str:
    head = [
        "Image",
        "Slide or case",
        "Split",
        "Size (px)",
        "µm/px",
        *(escape(c.name) for c in classes),
        "Verified",
    ]
    body = [
        [
            escape(row.name),
            escape(row.slide),
            row.split or ("-" if row.training else "not in training"),
            f"{row.hw[1]:,} x {row.hw[0]:,}",
            "-" if row.mpp is None else f"{row.mpp:.4g}",
            *(f"{row.objects[info.id]:,}" for info in classes),
            f"{100 * row.verified_share:.0f} %",
        ]
        for row in rows
    ]
    return f'<h2>Images</h2><div class="scroll">{_table(head, body)}</div>' if body else ""


def _pictures(classes: Sequence[ClassInfo], rows: Sequence[ImageRow]) -> str:
    figures = [_figure(row.picture, row.name) for row in rows if row.picture is not None]
    keys = " &nbsp; ".join(_key(info) for info in classes)
    return f"<h2>Pictures</h2><p>{keys}</p>{''.join(figures)}" if figures else ""


def _heads(heads: Sequence[HeadRow]) -> str:
    if not heads:
        return "<h2>Heads</h2><p>No head was trained in this project.</p>"
    parts = ["<h2>Heads</h2>"]
    for head in heads:
        facts = [f"encoder {head.encoder}" if head.encoder else "", head.quality, head.problem]
        text = "; ".join(escape(fact) for fact in facts if fact)
        charts = line_chart("Training loss", head.curves.get("loss", ()))
        charts += line_chart("Dice on the validation images", head.curves.get("dice", ()), from_zero=True)
        curves = charts or "<p>There is no training log beside this head.</p>"
        parts.append(
            f"<h3>{escape(head.name)} <small>({escape(head.file)})</small></h3><p>{text}</p>{curves}"
        )
    return "".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table of cells that are HTML; cells with numbers are right-aligned."""
    numeric = [bool(rows) and all(_is_number(row[index]) for row in rows) for index in range(len(head))]
    titles = "".join(
        f"<th{' class=n' if n else ''}>{cell}</th>" for cell, n in zip(head, numeric, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{' class=n' if n else ''}>{cell}</td>" for cell, n in zip(row, numeric, strict=True))
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def _is_number(text: str) -> bool:
    return text == "-" or text[:1].isdigit()


def _key(info: ClassInfo) -> str:
    return f'<span class="key" style="background:{_hex(info)}"></span>{escape(info.name)}'


def _hex(info: ClassInfo) -> str:
    return "#{:02x}{:02x}{:02x}".format(*info.color)


def _figure(picture: UInt8Array | None, name: str) -> str:
    if picture is None:
        return ""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="JPEG", quality=88)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    text = escape(name)
    return f'<figure><img alt="{text}" src="data:image/jpeg;base64,{data}"><figcaption>{text}</figcaption></figure>'
