"""Report of `sampath dataset check`."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...arrays import ClassInfo
from ...errors import DatasetError
from ...files.messages import plural
from ...formats.layouts import read_record
from ...jobs import Job
from .check import ImageFacts, inspect_job
from .dataset import Dataset

_SHOWN = 20
"""Number of notes in the text."""


def report_job(dataset: Dataset, folder: Path | None = None) -> Job[dict[str, Any]]:
    """Read all images of a dataset and summarise them; progress counts images.

    Args:
        dataset: The dataset.
        folder: Its folder; if it was exported at a certain scale, that scale is compared with those of the images.

    Returns:
        {"name", "images": {split: count}, "groups": {split: count}, "classes": [{"id", "name", "share": fraction of
        the labelled pixels, "images": {split: count}}], "ignored_share": fraction of all pixels, "empty": names of
        images with background only, "unlabelled": names of images without labelled pixels, "sizes": {"H x W": count},
        "mpp": {micrometres per pixel: count}, "leaks": sentences, "notes": sentences about what was left out or
        converted, "warnings": sentences, "problems": sentences}.
    """
    inspection = yield from inspect_job(dataset, dataset.samples, "Checking the images")
    images = inspection.images
    missing = _missing_classes(dataset, images)
    # Training fails only if its own images lack a class.
    problems = [
        *inspection.problems,
        *filter(None, [missing.pop("train", None), _wrong_scale(dataset, folder)]),
    ]
    splits = sorted({sample.split for sample in dataset.samples})
    total = sum(image.hw[0] * image.hw[1] for image in images)
    labelled = sum(image.labelled_px for image in images)
    counted = [index for index, info in enumerate(dataset.classes) if info.id > 0]
    return {
        "name": dataset.name,
        "images": dict(Counter(sample.split for sample in dataset.samples)),
        "groups": {s: len({sample.group for sample in dataset.samples if sample.split == s}) for s in splits},
        "classes": [_class_row(k, info, images, labelled) for k, info in enumerate(dataset.classes)],
        "ignored_share": 1 - labelled / total if total else None,
        "empty": [i.sample.name for i in images if i.labelled_px and not any(i.class_px[k] for k in counted)],
        "unlabelled": [i.sample.name for i in images if not i.labelled_px],
        "sizes": dict(Counter(f"{i.hw[0]} x {i.hw[1]}" for i in images).most_common()),
        "mpp": dict(Counter(_format_mpp(i.sample.mpp) for i in images).most_common()),
        "leaks": find_leaks(images),
        "notes": [*dataset.remarks, *(f"'{name}': {note}" for name, note in inspection.notes)],
        "warnings": [*missing.values(), *([dataset.note] if dataset.note else [])],
        "problems": problems,
    }


def find_leaks(images: Sequence[ImageFacts]) -> list[str]:
    """Return one sentence for each slide, case or duplicated image that is in several splits."""
    groups: dict[str, list[ImageFacts]] = defaultdict(list)
    copies: dict[str, list[ImageFacts]] = defaultdict(list)
    for image in images:
        groups[f"The slide or case '{image.sample.group}' is"].append(image)
        copies[image.digest].append(image)
    sets = [*groups.items(), *(("The same pixels are", members) for members in copies.values())]
    return [
        f"{subject} in {_splits_of(members)}; move these images into one split."
        for subject, members in sets
        if len({image.sample.split for image in members}) > 1
    ]


def _splits_of(members: Sequence[ImageFacts]) -> str:
    first = {image.sample.split: image.sample.name for image in reversed(members)}
    return " and ".join(f"{split} ('{first[split]}')" for split in sorted(first))


def format_dataset_report(report: dict[str, Any]) -> str:
    """Format the result of `report_job` as text."""
    splits = list(report["images"])
    counts = ", ".join(
        f"{s} {plural(report['images'][s], 'image')} (slides or cases: {report['groups'][s]})" for s in splits
    )
    rows = [
        [str(c["id"]), c["name"], f"{100 * c['share']:.1f} %", *(str(c["images"].get(s, 0)) for s in splits)]
        for c in report["classes"]
    ]
    lines = [
        f"{report['name']}: {counts}",
        text_table(["number", "class", "of labelled pixels", *(f"images, {s}" for s in splits)], rows),
        f"sizes (height x width): {_format_counts(report['sizes'])}",
        f"micrometres per pixel: {_format_counts(report['mpp'])}",
    ]
    if report["ignored_share"]:
        lines.append(f"ignored: {100 * report['ignored_share']:.1f} % of all pixels")
    for key, words in (("empty", "with background only"), ("unlabelled", "without labels")):
        if report[key]:
            lines.append(f"images {words}: {len(report[key])} ({', '.join(report[key][:5])})")
    lines += [f"NOTE: {sentence}" for sentence in report["notes"][:_SHOWN]]
    if len(report["notes"]) > _SHOWN:
        lines.append(f"NOTE: {len(report['notes']) - _SHOWN:,} more; --json lists all.")
    lines += [f"WARNING: {sentence}" for sentence in report["warnings"]]
    lines += [f"LEAK: {sentence}" for sentence in report["leaks"]]
    lines += [f"PROBLEM: {sentence}" for sentence in report["problems"]]
    return "\n".join(lines)


def _class_row(index: int, info: ClassInfo, images: Sequence[ImageFacts], labelled_px: int) -> dict[str, Any]:
    pixels = sum(image.class_px[index] for image in images)
    counts = Counter(image.sample.split for image in images if image.class_px[index])
    share = pixels / labelled_px if labelled_px else 0.0
    return {"id": info.id, "name": info.name, "share": share, "images": dict(counts)}


def _missing_classes(dataset: Dataset, images: Sequence[ImageFacts]) -> dict[str, str]:
    """Return a sentence for each split with images that lacks a class."""
    sentences = {}
    for split in sorted({image.sample.split for image in images}):
        members = [image for image in images if image.sample.split == split]
        missing = [
            info.name
            for index, info in enumerate(dataset.classes)
            if info.id > 0 and not any(image.class_px[index] for image in members)
        ]
        if missing:
            sentences[split] = (
                f"No image of the split '{split}' contains the class '{missing[0]}'; annotate it in an image, or "
                "remove the class."
            )
    return sentences


def _asked_mpp(record: Mapping[str, Any] | None) -> float:
    """Return the micrometres per pixel in the settings of an export; 0 if images keep their own scale."""
    settings = {} if record is None else record.get("settings")
    mpp = settings.get("mpp") if isinstance(settings, dict) else None
    return float(mpp) if isinstance(mpp, int | float) else 0.0


def _wrong_scale(dataset: Dataset, folder: Path | None) -> str:
    """Return a sentence about images that do not have the scale for which the export asked; "" if there are none."""
    if folder is None:
        return ""
    # nnU-Net has its dataset in a subfolder of the export.
    record = read_record(folder) or read_record(folder.parent)
    asked = _asked_mpp(record)
    wrong = [s for s in dataset.samples if s.mpp is None or not math.isclose(s.mpp, asked, rel_tol=1e-3)]
    if not asked or not wrong:
        return ""
    return (
        f"{len(wrong)} of {len(dataset.samples)} images do not have the {asked:g} um per pixel of the export (such as "
        f"'{wrong[0].name}': {_format_mpp(wrong[0].mpp)}); repeat it with --update."
    )


def _format_mpp(mpp: float | None) -> str:
    return "unknown" if mpp is None else f"{mpp:g}"


def _format_counts(counts: dict[str, int]) -> str:
    shown = [f"{value} ({count})" for value, count in list(counts.items())[:6]]
    return ", ".join(shown) + (f" and {len(counts) - 6} more" if len(counts) > 6 else "")


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table as text; columns of numbers are right-aligned."""
    lines = [headings, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(headings))]
    is_text = [
        all(not cell.lstrip("+-").replace(".", "").isdigit() for cell in column)
        for column in zip(*rows, strict=True)
    ] or [True] * len(headings)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(line, widths, is_text, strict=True)
        ).rstrip()
        for line in lines
    )


def check_folder_job(folder: Path) -> Job[str]:
    """Make a job that checks a dataset folder; its result is the text of `format_dataset_report`.

    A folder that cannot be read as a dataset is described by one sentence.
    """
    from .readers import open_dataset

    try:
        report = yield from report_job(open_dataset(folder), folder)
    except DatasetError as error:
        return f"PROBLEM: {error}"
    return format_dataset_report(report)
