"""Report of `evaluate` as a self-contained HTML file with images."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...arrays import ClassInfo, UInt8Array
from ...files import write_atomically
from ...files.messages import plural
from ...heads import LoadedHead
from ...jobs import Job, Progress, run
from ...predict import Model
from ...predict.segmentation import segment_job
from ..data.dataset import IGNORED, Dataset
from .evaluate import channels
from .published_results import Paper
from .report import format_score, outline_table, paper_table, region_table

IMAGES_PER_GROUP = 3
"""Number of images in each of the groups best, median and worst."""
_SIDE_PX = 320
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .7rem;text-align:left;border-bottom:1px solid #ddd}
td.n{text-align:right;font-variant-numeric:tabular-nums}figure{display:inline-block;margin:.5rem 1rem .5rem 0}
img{max-width:100%}figcaption{font-size:.85rem;color:#555}.key{display:inline-block;width:.8rem;height:.8rem}"""


def write_html_job(
    path: Path,
    report: dict[str, Any],
    dataset: Dataset,
    head: LoadedHead,
    model: Model,
    source: Paper | None = None,
) -> Job[Path]:
    """Write a report of `evaluate` with the best, median and worst images, which are segmented again.

    `source` is a paper whose results are added.

    Raises:
        StorageError: If the file cannot be written.
    """
    samples = {sample.name: sample for sample in dataset.samples if sample.split == report["split"]}
    chosen = choose_images(report["rows"])
    sections: list[str] = []
    done, total = 0, sum(map(len, chosen.values()))
    for kind, rows in chosen.items():
        figures = []
        for row in rows:
            yield Progress(done, total, f"Drawing {row['name']}", "images")
            sample = samples[row["name"]]
            example = dataset.read(sample)
            result = run(segment_job(example.pixels, head, model, mpp=sample.mpp))
            predicted = channels(result.labels, dataset)
            image = side_by_side(example.pixels, example.targets, predicted, dataset.classes)
            dice = format_score(row["dice"])
            caption = f"{row['name']}, Dice {dice}: image, ground truth, {report['head']}"
            figures.append(_figure(image, caption))
            done += 1
        sections.append(f"<h2>{kind}</h2>{''.join(figures)}")
    content = _page(report, dataset, sections, source).encode("utf-8")
    write_atomically(path, lambda stream: stream.write(content))
    return path


def choose_images(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Choose the best, median and worst images by mean Dice, each image at most once."""
    ranked = sorted((row for row in rows if row["dice"] is not None), key=lambda row: -row["dice"])
    count = min(IMAGES_PER_GROUP, -(-len(ranked) // 3))
    start = max(count, (len(ranked) - count) // 2)
    middle = ranked[start : max(start, min(start + count, len(ranked) - count))]
    return {"Best": ranked[:count], "Median": middle, "Worst": ranked[max(count, len(ranked) - count) :]}


def side_by_side(
    pixels: UInt8Array, targets: UInt8Array, predicted: UInt8Array, classes: Sequence[ClassInfo]
) -> UInt8Array:
    """Draw an image, its true classes and its predicted classes side by side, (h, 3w, 3) uint8."""
    colors = np.zeros((256, 3), dtype=np.uint8)
    colors[: len(classes)] = [c.color for c in classes]
    panels = [pixels]
    for labels in (targets, predicted):
        covered = (labels != IGNORED) & np.isin(labels, [i for i, c in enumerate(classes) if c.id > 0])
        tinted = np.where(covered[..., None], pixels // 2 + colors[labels] // 2, pixels)
        tinted[labels == IGNORED] //= 3
        panels.append(tinted.astype(np.uint8))
    step = max(1.0, max(pixels.shape[:2]) / _SIDE_PX)
    size = max(1, round(pixels.shape[1] / step)), max(1, round(pixels.shape[0] / step))
    return np.concatenate([np.asarray(Image.fromarray(panel).resize(size)) for panel in panels], axis=1)


def _page(report: dict[str, Any], dataset: Dataset, sections: list[str], source: Paper | None) -> str:
    title = html.escape(f"{report['head']} on {report['dataset']}")
    keys = " ".join(
        f'<span class="key" style="background:rgb{c.color}"></span> {html.escape(c.name)}'
        for c in dataset.classes
    )
    error = report["scores"][report["head"]]["calibration_error"]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>",
        f"<h1>{title}</h1><p>Split {html.escape(report['split'])}, {plural(report['images'], 'image')}, features of "
        f"{html.escape(report['encoder'])}. Gain in mean IoU per image over the best constant prediction: "
        f"{report['gain_iou']:+.3f}. Expected calibration error: {format_score(error)}.</p><p>{keys}</p>",
        _table(*region_table(report)),
        _table(*outline_table(report)),
        _table(
            ["metrics of the reference implementation", ""],
            [[k, format_score(v)] for k, v in report["compat"].items()],
        ),
    ]
    if source is not None:
        parts += [
            f"<h2>{html.escape(source.title)}</h2>",
            _table(*paper_table(source, report)),
            f"<p>{html.escape(source.note)}</p>",
        ]
    return "\n".join([*parts, *sections, "</html>"])


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in headings)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(text: str) -> str:
    number = text.lstrip("+-").replace(".", "").isdigit()
    return f"<td{' class=n' if number else ''}>{html.escape(text)}</td>"


def _figure(image: UInt8Array, caption: str) -> str:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="JPEG", quality=85)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/jpeg;base64,{data}"><figcaption>{text}</figcaption></figure>'
