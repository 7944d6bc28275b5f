"""`sampath dataset`: check a folder of training images and its labels."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...files.messages import plural
from ..output import Output
from ..subcommand import Subcommand, add_model, load

if TYPE_CHECKING:
    from ...training import Dataset
    from ...training.data.instances import InstanceImage


def add_data(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Declare `--data`; it is required unless `SAMPATH_DATA` is set."""
    folder = os.environ.get("SAMPATH_DATA")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        default=folder and Path(folder),
        required=required and folder is None,
        help="folder of the dataset (default: the environment variable SAMPATH_DATA)",
    )


def add_patterns(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that find images and label maps in a folder of any layout."""
    group = parser.add_argument_group("images and label maps in a folder of any layout")
    group.add_argument(
        "--images", default="", metavar="PATTERN", help="pattern of the image files, such as '*/img_*.png'"
    )
    group.add_argument(
        "--labels", default="", metavar="PATTERN", help="pattern of their label maps, such as '*/mask_*.png'"
    )
    group.add_argument(
        "--group",
        default="",
        metavar="REGEX",
        help="regular expression that matches the slide or case in an image's path, such as '(case\\d+)'",
    )
    group.add_argument(
        "--as",
        dest="values_as",
        choices=("auto", "classes", "objects"),
        default="auto",
        help="whether the values of label maps are classes, or numbers of objects of one class (default: decide by the "
        "values)",
    )


def open_data(args: argparse.Namespace, folder: Path) -> Dataset:
    """Open the dataset in `folder` with the arguments of `add_patterns`."""
    from ...training import open_dataset

    return open_dataset(folder, args.images, args.labels, args.group, args.values_as)


def open_instances(args: argparse.Namespace, split: str) -> list[InstanceImage]:
    """Read the images and objects of a split of `--data`, a dataset or the tissue collection."""
    from ...training.data.instances import dataset_instances, read_instances

    if args.images or args.labels or args.group or args.values_as != "auto":
        return list(dataset_instances(open_data(args, args.data), split))
    return read_instances(args.data, split)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath dataset`."""
    parser.add_argument(
        "action",
        choices=["check", "audit", "rank"],
        help="check: read all files, and report their content and errors; audit: list labels that are probably "
        "mistakes, such as slivers, holes, duplicates and empty verified areas; rank: list the labels that differ most "
        "from the prediction of heads trained on the other images",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="dataset folder or COCO file")
    add_patterns(parser)
    add_model(parser)
    parser.add_argument(
        "--first",
        type=int,
        default=0,
        metavar="N",
        help="number of labels that rank lists (default: a tenth of the number of objects)",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Check or audit a dataset; return 1 if a file cannot be used, a slide is in two splits, or a label looks wrong."""
    if args.action == "audit":
        return _audit(args.folder, output)
    if args.action == "rank":
        return _rank(args, output)
    from ...training.data.dataset_report import format_dataset_report, report_job

    report = output.run(report_job(open_data(args, args.folder), args.folder))
    output.result(report, format_dataset_report(report))
    return 1 if report["problems"] or report["leaks"] else 0


def _audit(folder: Path, output: Output) -> int:
    """List the labels of a dataset folder that are probably mistakes; return 1 if there are any."""
    from ...formats import DatasetFolder
    from ...session.files.auditing import audit_dataset_job

    found = output.run(audit_dataset_job(DatasetFolder.open(folder)))
    rows = [
        {"image": name, "problem": finding.problem, "box": list(finding.box), "text": text}
        for name, finding, text in found
    ]
    lines = [
        f"{name}, row {finding.box[0]}, column {finding.box[1]}: {text}" for name, finding, text in found
    ]
    summary = f"{plural(len(rows), 'label')} to check" if rows else "No label looks wrong."
    output.result({"findings": rows}, "\n".join([*lines, summary]))
    return 1 if rows else 0


def _rank(args: argparse.Namespace, output: Output) -> int:
    """List the labels that differ most from the prediction of heads that have not seen the image."""
    from ...training.rounds.label_ranking import confusion_of, most_suspicious, rank_labels_job

    dataset = open_data(args, args.folder)
    ranked = output.run(rank_labels_job(dataset, load(args, output)))
    listed = ranked[: args.first] if args.first > 0 else most_suspicious(ranked)
    confusion: dict[str, dict[str, int]] = {}
    for (label, predicted), entries in confusion_of(ranked).items():
        confusion.setdefault(label, {})[predicted] = len(entries)
    objects = sum(entry.object > 0 for entry in ranked)
    summary = (
        f"The {len(listed)} most suspicious labels; {objects} objects were compared."
        if listed
        else "There are no objects to compare."
    )
    values = {"labels": [dataclasses.asdict(entry) for entry in listed], "confusion": confusion}
    output.result(values, "\n".join([*(entry.sentence for entry in listed), summary]))
    return 0


SUBCOMMAND = Subcommand(
    "check a dataset: classes, image sizes, splits and damaged files",
    "sampath dataset check my-glands/",
    arguments,
    run,
)
