"""What `sampath dataset check` says of a dataset."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from ...jobs import Job
from .check import Findings, ImageFacts, inspect_job
from .dataset import Dataset


def report_job(dataset: Dataset) -> Job[dict[str, Any]]:
    """Read a whole dataset and say what is in it, with progress in images.

    Returns:
        {"name", "images": {split: count}, "groups": {split: count}, "classes": [{"name", "share" of the labelled
        pixels, "images": {split: count}}], "ignored_share", "empty": names of images without any class but rest,
        "unlabelled": names of images of which nothing is labelled, "sizes": {"H x W": count}, "mpp": {scale: count},
        "leaks": sentences, "problems": sentences}.
    """
    found = yield from inspect_job(dataset, dataset.samples, "Checking the images")
    images = found.images
    splits = sorted({sample.split for sample in dataset.samples})
    total = sum(image.hw[0] * image.hw[1] for image in images)
    labelled = sum(image.labelled_px for image in images)
    counted = [index for index, c in enumerate(dataset.classes) if c.id > 0]
    return {
        "name": dataset.name,
        "images": dict(Counter(sample.split for sample in dataset.samples)),
        "groups": {s: len({one.group for one in dataset.samples if one.split == s}) for s in splits},
        "classes": [_class_row(index, c.name, images, labelled) for index, c in enumerate(dataset.classes)],
        "ignored_share": 1 - labelled / total if total else None,
        "empty": [i.sample.name for i in images if i.labelled_px and not any(i.class_px[k] for k in counted)],
        "unlabelled": [i.sample.name for i in images if not i.labelled_px],
        "sizes": dict(Counter(f"{i.hw[0]} x {i.hw[1]}" for i in images).most_common()),
        "mpp": dict(Counter(_scale(i.sample.mpp) for i in images).most_common()),
        "leaks": find_leaks(images),
        "problems": _problems(dataset, found),
    }


def find_leaks(images: Sequence[ImageFacts]) -> list[str]:
    """Say which slides, cases or pixels are in several splits."""
    leaks = []
    groups: dict[str, list[ImageFacts]] = defaultdict(list)
    copies: dict[str, list[ImageFacts]] = defaultdict(list)
    for image in images:
        groups[image.sample.group].append(image)
        copies[image.digest].append(image)
    for members in groups.values():
        if len({image.sample.split for image in members}) > 1:
            leaks.append(f"The slide or case '{members[0].sample.group}' is in {_places(members)}.")
    for members in copies.values():
        if len({image.sample.split for image in members}) > 1:
            leaks.append(f"The same pixels are in {_places(members)}.")
    return leaks


def _places(members: Sequence[ImageFacts]) -> str:
    first = {image.sample.split: image.sample.name for image in reversed(members)}
    named = " and ".join(f"{split} ('{first[split]}')" for split in sorted(first))
    return f"{named}; move all of it into one split"


def format_dataset_report(report: dict[str, Any]) -> str:
    """Write a report for a person."""
    splits = list(report["images"])
    counts = ", ".join(
        f"{s} {report['images'][s]} images of {report['groups'][s]} slides or cases" for s in splits
    )
    rows = [
        [c["name"], f"{100 * c['share']:.1f} %", *(str(c["images"].get(s, 0)) for s in splits)]
        for c in report["classes"]
    ]
    lines = [
        f"{report['name']}: {counts}",
        text_table(["class", "of labelled pixels", *(f"images, {s}" for s in splits)], rows),
        f"sizes (height x width): {_mix(report['sizes'])}",
        f"micrometres per pixel: {_mix(report['mpp'])}",
    ]
    if report["ignored_share"]:
        lines.append(f"ignored: {100 * report['ignored_share']:.1f} % of all pixels")
    for key, words in (("empty", "without any class"), ("unlabelled", "with nothing labelled")):
        if report[key]:
            lines.append(f"images {words}: {len(report[key])} ({', '.join(report[key][:5])})")
    lines += [f"LEAK: {sentence}" for sentence in report["leaks"]]
    lines += [f"PROBLEM: {sentence}" for sentence in report["problems"]]
    return "\n".join(lines)


def _class_row(index: int, name: str, images: Sequence[ImageFacts], labelled: int) -> dict[str, Any]:
    pixels = sum(image.class_px[index] for image in images)
    there = Counter(image.sample.split for image in images if image.class_px[index])
    return {"name": name, "share": pixels / labelled if labelled else 0.0, "images": dict(there)}


def _problems(dataset: Dataset, found: Findings) -> list[str]:
    """Add to the files that cannot be used the classes that a split lacks, and what the reader noted."""
    problems = list(found.problems)
    for split in sorted({sample.split for sample in dataset.samples}):
        members = [image for image in found.images if image.sample.split == split]
        missing = [
            c.name
            for index, c in enumerate(dataset.classes)
            if c.id > 0 and not any(image.class_px[index] for image in members)
        ]
        if missing:
            problems.append(
                f"No image of the split '{split}' holds the class '{missing[0]}'; label some, or remove it."
            )
    return problems + ([dataset.note] if dataset.note else [])


def _scale(mpp: float | None) -> str:
    return "unknown" if mpp is None else f"{mpp:g}"


def _mix(counts: dict[str, int]) -> str:
    shown = [f"{value} ({count})" for value, count in list(counts.items())[:6]]
    return ", ".join(shown) + (f" and {len(counts) - 6} more" if len(counts) > 6 else "")


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Set a table in columns, figures to the right."""
    lines = [headings, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(headings))]
    words = [
        all(not cell or not cell.lstrip("+-").replace(".", "").isdigit() for cell in column)
        for column in zip(*rows, strict=True)
    ] or [True] * len(headings)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if word else cell.rjust(width)
            for cell, width, word in zip(line, widths, words, strict=True)
        ).rstrip()
        for line in lines
    )
