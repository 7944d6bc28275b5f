"""`sampath project compare`: agreement of two readers on the images of a project."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import DatasetError
from ....files.messages import plural
from ...output import Output, table

if TYPE_CHECKING:
    from ....session.project.agreement import Agreement


def compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `compare`."""
    parser.add_argument(
        "other",
        nargs="?",
        type=Path,
        metavar="OTHER",
        help="zip file, folder or journal of the other reader (default: the versions in conflicts/)",
    )
    parser.add_argument("--image", metavar="NAME", help="compare this image only")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="also write the figures as .csv")
    parser.add_argument(
        "--consensus",
        choices=("agreed", "all"),
        help="also write a consensus as a new version: objects of both readers (agreed), or of at least one (all)",
    )


def compare(args: argparse.Namespace, output: Output) -> int:
    """Compare the versions of each image; return 1 if there is none to compare."""
    from ....session import sessions_folder
    from ....session.project.agreement import report
    from ....session.project.project import Project
    from ....session.project.versions import compare_job

    project = Project(args.project)
    if args.image is not None:
        project.image(args.image)
    found = output.run(compare_job(project, sessions_folder(), args.other, args.image, args.consensus))
    if not found:
        raise DatasetError(
            f"'{project.name}' has no second version of an image; give the project of the other reader, or merge it."
        )
    rows = [row for version in found for row in _rows(version.image, version.second, version.agreement)]
    if args.output is not None:
        _write(args.output, rows)
    lines = [table(_HEAD, [tuple(map(_shown, row)) for row in rows])]
    for version in found:
        lines.append(
            f"{version.image}: {plural(version.agreement.matched, 'object')} found by both, "
            f"{plural(len(version.agreement.disagreements), 'disagreement')}."
        )
        if version.consensus is not None:
            lines.append(f"{version.image}: wrote the consensus as {version.consensus}.")
    values = [
        {
            "image": version.image,
            "first": version.first,
            "second": version.second,
            "consensus": None if version.consensus is None else str(version.consensus),
            **report(version.agreement),
        }
        for version in found
    ]
    output.result({"project": project.name, "versions": values}, "\n".join(lines))
    return 0


_HEAD = ("image", "other reader", "class", "Dice", "F1", "objects", "of the other", "kappa")


def _rows(image: str, reader: str, agreement: Agreement) -> list[tuple[Any, ...]]:
    return [
        (image, reader, entry.name, entry.dice, entry.f1, entry.first, entry.second, agreement.kappa)
        for entry in agreement.classes
    ]


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _write(path: Path, rows: list[tuple[Any, ...]]) -> None:
    from ....files import write_atomically
    from ...subcommand import check_suffix

    check_suffix(path, ".csv")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([_HEAD, *rows])
    write_atomically(path, lambda stream: stream.write(text.getvalue().encode()))
