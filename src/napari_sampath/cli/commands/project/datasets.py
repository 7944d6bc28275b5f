"""Export of a project as a training dataset, for `sampath export` and `sampath project export`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from ....errors import DatasetError
from ....files.messages import plural
from ...fields import add_fields, from_args
from ...output import Output
from .opening import open_project

if TYPE_CHECKING:
    from ....session.exports import DatasetExport


def layout_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `--layout`, `--update` and the flags of `ExportSettings`."""
    from ....formats.layouts import LAYOUTS, ExportSettings

    parser.add_argument(
        "--layout",
        choices=list(LAYOUTS),
        help="with a project: export all its images as one training dataset in this layout",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="with a project: replace an earlier export in FOLDER; its layout and settings are the defaults",
    )
    add_fields(parser, ExportSettings, "training dataset of a project")


def export_dataset(args: argparse.Namespace, output: Output) -> int:
    """Export the project `args.project` as a training dataset.

    Raises:
        DatasetError: If no layout is given and there is no earlier export.
    """
    from ....formats.layouts import LAYOUTS, ExportSettings
    from ....session import sessions_folder
    from ....session.exports import export_dataset_job, saved_settings
    from ....training.data.dataset_report import check_folder_job

    saved = saved_settings(args.output) if args.update else None
    layout = args.layout or (saved and saved[0])
    if layout is None:
        raise DatasetError(
            f"'{args.project}' is a project; add --layout with one of {', '.join(LAYOUTS)}, or use "
            "'sampath project export' to write label files for each image."
        )
    settings = from_args(ExportSettings, args, saved[1] if saved else None)
    project, folder = open_project(args, output), sessions_folder()
    job = export_dataset_job(project, args.output, layout, folder, settings, args.update, check_folder_job)
    result = output.run(job)
    values = {key: value for key, value in asdict(result).items() if key != "cut"}
    output.result(values | {"cut": _cut(result)}, "\n".join(describe(result)))
    return 0


def _cut(result: DatasetExport) -> dict[str, int]:
    cut = result.cut
    return {
        "cut_parts": cut.cut,
        "slivers": cut.slivers,
        "too_small": cut.too_small,
        "empty_patches": cut.empty,
        "unverified": cut.unverified,
    }


def describe(result: DatasetExport) -> list[str]:
    """Describe an export, one sentence for each line."""
    files = ", ".join(f"{split} {number}" for split, number in result.files.items())
    total = sum(result.objects.values())
    lines = [
        f"Exported {plural(len(result.images), 'image')} with {plural(total, 'object')} to {result.folder} ({files})."
    ]
    changes = result.changes
    if changes.changed or changes.unchanged or changes.removed:
        lines.append(
            f"Files: {changes.new} new, {changes.changed} changed, {changes.unchanged} unchanged, "
            f"{changes.removed} removed."
        )
    if changes.kept_edits:
        lines.append(
            f"{plural(changes.kept_edits, 'file')} that somebody changed by hand moved to 'changed-by-hand'."
        )
    if result.unreviewed:
        lines.append(
            f"{plural(result.unreviewed, 'object')} never reviewed; --reviewed-only leaves them out."
        )
    if result.unsure:
        lines.append(f"{plural(result.unsure, 'object')} marked as unsure left out.")
    if result.unknown_share:
        lines.append(f"{100 * result.unknown_share:.1f} % of the pixels have no class and were not verified.")
    if result.cut.cut or result.cut.slivers:
        lines.append(
            f"Borders of patches: {result.cut.cut} parts of objects exported, {result.cut.slivers} small parts left "
            "out."
        )
    lines += [f"{name} was not exported: {reason}" for name, reason in result.skipped.items()]
    lines += [line for line in result.check.splitlines() if line.startswith(("PROBLEM", "LEAK", "WARNING"))]
    return lines
