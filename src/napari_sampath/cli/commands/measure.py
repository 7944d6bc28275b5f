"""`sampath measure`: measure the objects of an image, folder, dataset or project as CSV."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import DatasetError, JournalError
from ...files import write_atomically
from ...files.messages import plural
from ..output import Output
from ..subcommand import Subcommand, add_output, check_suffix, journal_of, open_image_or_slide

if TYPE_CHECKING:
    from ...annotations.measuring.measure import Measurements
    from ...formats import DatasetFolder
    from ...images import LoadedImage


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath measure`."""
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="image, folder of images, dataset folder or project folder",
    )
    add_output(parser, "table of the objects to write, .csv")
    parser.add_argument(
        "--classes", type=Path, metavar="FILE", help="also write counts and densities of the classes, .csv"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="label file of the image (default: its annotations on this machine)",
    )
    parser.add_argument(
        "--mpp", type=float, metavar="UM", help="micrometres per pixel (default: as stored in the file)"
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Measure the objects and write the tables."""
    from ...annotations.measuring.columns import CLASS_COLUMNS, OBJECT_COLUMNS

    targets = [path for path in (args.output, args.classes) if path is not None]
    for path in targets:
        check_suffix(path, ".csv")
    results = list(_measure_all(args, output))
    objects = [row for result in results for row in result.objects]
    classes = [row for result in results for row in result.classes]
    _write(args.output, tuple(OBJECT_COLUMNS), objects)
    if args.classes is not None:
        _write(args.classes, tuple(CLASS_COLUMNS), classes)
    output.result(
        {"files": [str(path) for path in targets], "images": len(results), "objects": len(objects)},
        f"{args.output}: {plural(len(objects), 'object')} in {plural(len(results), 'image')}",
    )


def _measure_all(args: argparse.Namespace, output: Output) -> Iterator[Measurements]:
    from ...formats import DatasetFolder
    from ...session.project.project import Project

    source: Path = args.source
    if args.labels is not None or source.is_file():
        yield _measure_image(source, args, output)
        return
    project = Project(source) if Project.exists(source) else None
    found = [] if project is None else [project.file_of(image) for image in project.images.values()]
    files = [file for file in found if file is not None]
    if files:
        yield from _measure_files(files, args, output)
    elif DatasetFolder.exists(source):
        yield from _measure_dataset(DatasetFolder.open(source), args, output)
    else:
        from ...images import list_images

        listing = list_images(source)
        output.note(listing.doubt)
        yield from _measure_files(listing.paths, args, output)


def _measure_files(files: Sequence[Path], args: argparse.Namespace, output: Output) -> Iterator[Measurements]:
    """Measure the annotated images among some files."""
    skipped = 0
    for file in files:
        try:
            yield _measure_image(file, args, output)
        except JournalError:
            skipped += 1
    if skipped == len(files):
        raise DatasetError(
            f"None of the {plural(len(files), 'image')} in '{args.source}' has been annotated on this machine; "
            "annotate one first, or give an image with --labels."
        )
    if skipped:
        output.note(f"Skipped {plural(skipped, 'image')} without annotations on this machine.")


def _measure_image(path: Path, args: argparse.Namespace, output: Output) -> Measurements:
    with open_image_or_slide(path, output) as image:
        return _measure_open(image, path, args.mpp or image.mpp, args, output)


def _measure_open(
    image: LoadedImage, path: Path, mpp: float | None, args: argparse.Namespace, output: Output
) -> Measurements:
    from ...annotations import Document, Edits, open_journal
    from ...annotations.measuring.measure import measure_job, objects_of
    from ...formats import import_objects

    if args.labels is not None:
        objects = import_objects(args.labels, hw=(image.pixels.shape[0], image.pixels.shape[1]))
        return output.run(measure_job(objects, image.pixels, mpp, None, image.name))
    journal = open_journal(journal_of(path, image.pixels))
    try:
        document = Edits(Document(journal.header.hw, journal.header.classes), journal).document
    finally:
        journal.close()
    return output.run(measure_job(objects_of(document), image.pixels, mpp, document.verified, image.name))


def _measure_dataset(
    folder: DatasetFolder, args: argparse.Namespace, output: Output
) -> Iterator[Measurements]:
    from ...annotations.measuring.measure import measure_job
    from ...formats import Labels, Objects

    for name, entry in folder.images.items():
        item = folder.read(name)
        instances = item.instances if item.instances is not None else 0 * item.labels
        objects = Objects.of(Labels(item.labels, instances.astype("int32"), folder.classes))
        area = item.annotated

        def verified(box: tuple[int, int, int, int], area: Any = area) -> Any:
            return area[box[0] : box[2], box[1] : box[3]]

        yield output.run(measure_job(objects, item.pixels, args.mpp or entry.mpp, verified, name))


def _write(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write a table as CSV, with numbers of at most six significant digits."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
        )
    data = text.getvalue().encode()
    write_atomically(path, lambda stream: stream.write(data))


SUBCOMMAND = Subcommand(
    "measure objects: area, shape, colour, stain, and densities of classes",
    "sampath measure project/ -o objects.csv --classes densities.csv",
    arguments,
    run,
)
