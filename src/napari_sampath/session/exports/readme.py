"""The README of an export: what it contains, what was never reviewed, and how to use it."""

from __future__ import annotations

from ...files.messages import plural
from ...formats.layouts.layout import Layout
from ...formats.layouts.settings import IGNORE, NEW_SPLITS, NO_SPLITS, VERIFIED, ExportSettings
from ..project.project import Project
from .result import DatasetExport

README = "README.txt"
CHECK = "dataset-check.txt"
"""Result of the check of the exported dataset."""


def readme(project: Project, layout: Layout, settings: ExportSettings, result: DatasetExport) -> str:
    """Return the text of the README."""
    sections = [
        f"Export of the project '{project.name}' by napari-sampath",
        f"Layout: {layout.label}. {layout.summary}\n" + "\n".join(result.remarks),
        _section("Images, by split", _splits(settings, result)),
        _section("Classes: number in the project, name, exported objects", _classes(result)),
        _section("Review", review_lines(settings, result)),
        _section("Scale and patches", _scale(settings, result)),
        _section("Not exported", [f"{name}: {reason}" for name, reason in result.skipped.items()]),
        _section(
            "Files",
            [
                "index.csv: image of the project, slide or case, position and um/px of each file",
                f"{CHECK}: result of the check of this dataset",
                "export.json: settings, and the digests by which an update finds what changed",
            ],
        ),
        "Repeat this export with: sampath export PROJECT -o THIS_FOLDER --update",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def review_lines(settings: ExportSettings, result: DatasetExport) -> list[str]:
    """Say what was never reviewed by a person."""
    total = sum(result.objects.values())
    lines = [f"Never reviewed by a person: {result.unreviewed} of {plural(total, 'object')}."]
    if settings.reviewed_only:
        lines = ["Objects that no person made, changed or reviewed are left out."]
    if result.unsure:
        lines.append(f"Left out because they are marked as unsure: {plural(result.unsure, 'object')}.")
    if result.unknown_share:
        meaning = "ignored" if settings.unverified == IGNORE else "background"
        lines.append(
            f"{100 * result.unknown_share:.1f} % of all pixels have no class and were not verified by a person; they "
            f"are {meaning} here."
        )
    if settings.images == VERIFIED:
        what = "patches" if settings.patch_px else "images"
        lines.append(
            f"Only completely verified {what} are exported; {result.cut.unverified} others are left out."
        )
    return lines


def _splits(settings: ExportSettings, result: DatasetExport) -> list[str]:
    kind = {NEW_SPLITS: "new splits", NO_SPLITS: "no splits"}.get(settings.split, "splits of the project")
    what = "patch" if settings.patch_px else "image"
    lines = [f"All images of a slide or case are in one split ({kind})."]
    for split in ("train", "val", "test"):
        if split in result.files:
            sources = [name for name, other in result.images.items() if other == split]
            slides = sorted(slide for slide, other in result.splits.items() if other == split)
            names = f"{', '.join(slides[:10])}{' ...' if len(slides) > 10 else ''}"
            lines.append(
                f"{split}: {plural(result.files[split], what)} of {plural(len(sources), 'image')}; "
                f"slides or cases: {names}"
            )
    return lines


def _classes(result: DatasetExport) -> list[str]:
    return [f"{info.id}  {info.name}  {result.objects.get(info.name, 0)}" for info in result.classes]


def _scale(settings: ExportSettings, result: DatasetExport) -> list[str]:
    lines = [f"{settings.mpp:g} um/px" if settings.mpp else "Each image at its own scale, see index.csv."]
    if result.cut.too_small:
        lines.append(
            f"Smaller than a pixel at this scale, and therefore missing: {plural(result.cut.too_small, 'object')}."
        )
    if not settings.patch_px:
        return lines
    lines += [
        f"Patches of {settings.patch_px} px with an overlap of {settings.overlap_px} px; the last patch of a row or "
        "column is moved back to the edge of the image, and white pixels are added to smaller images.",
        f"Objects at the border of a patch are cut: {result.cut.cut} parts of objects are exported as objects of "
        "their patch.",
        f"{result.cut.slivers} parts with less than {100 * settings.min_visible:g} % of their object are left out as "
        "objects; class maps keep their pixels.",
        f"{result.cut.empty} patches without objects and verified pixels are left out.",
    ]
    return lines


def _section(title: str, lines: list[str]) -> str:
    lines = [line for line in lines if line]
    return f"{title}\n" + "\n".join(f"  {line}" for line in lines) if lines else ""
