"""`sampath export` and `sampath import`: convert annotations to label files and back."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ...errors import ConfigError, ImageError, StorageError
from ...files import check_length
from ...files.messages import plural
from ...jobs import run
from ..output import Output
from ..subcommand import Subcommand, add_model, add_output, journal_of, load, open_image_or_slide

if TYPE_CHECKING:
    from ...annotations import Document, Journal
    from ...images import LoadedImage
    from ...session.files.saving import ExportedImage

JOURNAL_SUFFIX = ".jsonl"


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath export`."""
    from ...formats.registry import writable
    from .project.datasets import layout_arguments

    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="image that was annotated on this machine, folder of such images, journal (.jsonl), or project",
    )
    add_output(parser, "folder to write the files to", "FOLDER")
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="name of the image in the exported files (default: name of IMAGE, or that in the journal)",
    )
    parser.add_argument(
        "--formats",
        default="png,tiff",
        metavar="LIST",
        help=f"comma-separated list of {', '.join(entry.name for entry in writable())} (default: %(default)s)",
    )
    parser.add_argument(
        "--result",
        type=Path,
        metavar="FOLDER",
        help="for a slide: also write the objects of this result of 'segment --objects'; annotations keep their pixels",
    )
    layout_arguments(parser)


def run_export(args: argparse.Namespace, output: Output) -> int | None:
    """Write the objects in the requested formats, and `classes.json`; export a project as a training dataset."""
    from ...session.project.project import Project
    from .project.datasets import export_dataset

    if args.layout or args.update or (args.source.is_dir() and Project.exists(args.source)):
        args.project = args.source
        return export_dataset(args, output)
    from ...images.slides import is_slide

    check_length(args.name or "", "image", ImageError)
    if args.source.is_dir() and not is_slide(args.source):
        _export_folder(args, output)
    else:
        _export_image(args, output)
    return None


def _export_folder(args: argparse.Namespace, output: Output) -> None:
    from ...session import sessions_folder
    from ...session.exports import export_folder_job

    if args.name:
        raise ImageError(
            f"'{args.source}' is a folder of images, and --name is the name of one image; leave it out."
        )
    job = export_folder_job(args.source, args.output, _formats(args), sessions_folder())
    result = output.run(job)
    for note in result.notes:
        output.note(note)
    for name, reason in result.skipped.items():
        output.note(f"{name} was not exported: {reason}")
    if result.not_annotated:
        output.note(f"{plural(result.not_annotated, 'image')} without annotations left out.")
    objects = sum(result.images.values())
    lines = [
        f"Exported {plural(len(result.images), 'image')} with {plural(objects, 'object')} to {result.folder}:"
    ]
    lines += [f"  {name}: {plural(number, 'object')}" for name, number in result.images.items()]
    content = {
        "images": result.images,
        "skipped": result.skipped,
        "files": [str(file) for file in result.files],
    }
    output.result(content, "\n".join(lines))


def _formats(args: argparse.Namespace) -> tuple[str, ...]:
    return tuple(word.strip() for word in args.formats.split(","))


def _export_image(args: argparse.Namespace, output: Output) -> None:
    if args.source.suffix == JOURNAL_SUFFIX:
        _export_journal(args, output, args.source, None)
        return
    from ...session import sessions_folder
    from ...session.journals import has_annotations

    with open_image_or_slide(args.source, output) as image:
        if args.result is not None and not has_annotations(image.pixels, sessions_folder()):
            _export_result(args, output, image)
            return
        _export_journal(args, output, journal_of(args.source, image.pixels), image)


def _export_result(args: argparse.Namespace, output: Output, image: LoadedImage) -> None:
    """Export the result on an image that nobody has annotated."""
    from ...annotations import Document, pixel_digest
    from ...session.files.saving import ExportedImage

    document = Document((image.pixels.shape[0], image.pixels.shape[1]))
    about = ExportedImage(
        args.name or image.name, args.source.name, None, pixel_digest(image.pixels), image.mpp
    )
    _write(args, output, document, about, {})


def _add_result(args: argparse.Namespace, output: Output, document: Document, digest: str) -> None:
    """Add the objects of the result in the arguments, if there is one, to a document of an image with this digest."""
    from ...formats.maps.slide_result import SlideResult
    from ...images.slides import open_slide
    from ...session.proposals.slide_objects import add_result_job

    if args.result is None:
        return
    result = SlideResult.load(args.result)
    if args.source.suffix != JOURNAL_SUFFIX:
        with open_slide(args.source) as slide:
            digest = slide.digest  # That of a small slide is not the digest of its image.
    if result.fingerprint.get("slide") != digest:
        raise ConfigError(
            f"'{args.result}' is not a result on '{args.source}'; give the folder that 'sampath segment' wrote for it."
        )
    output.run(add_result_job(document, result, result.head))


def _write(
    args: argparse.Namespace, output: Output, document: Document, about: ExportedImage, more: dict[str, str]
) -> None:
    """Write a document and the result in the arguments."""
    from ...session.files.saving import export_job

    notes: list[str] = []
    _add_result(args, output, document, about.digest)
    files = run(export_job(args.output, about, document, _formats(args), notes))
    for note in notes:
        output.note(note)
    objects = len(document.objects)
    output.result(
        {"files": [str(file) for file in files], "annotations": objects, **more},
        "\n".join([f"Exported {plural(objects, 'object')}:", *(f"  {file}" for file in files)]),
    )


def _export_journal(args: argparse.Namespace, output: Output, path: Path, image: LoadedImage | None) -> None:
    from ...annotations import Document, Edits, open_journal
    from ...session.files.saving import ExportedImage

    name = args.name if image is None else args.name or image.name
    journal = _with_name(open_journal(path), name)
    try:
        header = journal.header
        document = Edits(Document(header.hw, header.classes), journal).document
        about = ExportedImage(name or header.image, digest=header.digest)
        if image is not None:
            pixels = None if header.kind == "slide" else image.pixels
            about = ExportedImage(name or image.name, args.source.name, pixels, header.digest, image.mpp)
        for note in journal.notes:
            output.note(note)
        _write(args, output, document, about, {"journal": str(path)})
    finally:
        journal.close()


def import_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath import`."""
    from ...formats.registry import readable

    parser.add_argument(
        "labels",
        type=Path,
        metavar="LABELS",
        help="folder written by 'export', or a file or folder of another program: "
        + ", ".join(dict.fromkeys(entry.label for entry in readable())),
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="image that the labels belong to")
    parser.add_argument(
        "--journal",
        type=Path,
        metavar="FILE",
        help="journal to add the objects to (default: the journal of the image)",
    )
    _add_choices(parser.add_argument_group("files that can be read in several ways"))
    add_model(parser)


def _add_choices(group: argparse._ArgumentGroup) -> None:
    """Declare the flags for the fields of `ReadOptions`."""
    from ...formats.registry import readable

    group.add_argument(
        "--as",
        dest="as_",
        choices=("auto", "classes", "objects"),
        default="auto",
        help="whether the values of a label map are classes or numbers of objects (default: %(default)s)",
    )
    group.add_argument(
        "--threshold",
        type=int,
        metavar="VALUE",
        help="threshold of a label map: values of at least this are one class, lower values background",
    )
    group.add_argument(
        "--overlap",
        choices=("smaller-on-top", "file-order"),
        default="smaller-on-top",
        help="which of two overlapping objects is on top, unless the file states it (default: %(default)s)",
    )
    group.add_argument(
        "--scale",
        type=_scale,
        metavar="FACTOR",
        help="factor from the pixels of the file to those of the image, or 'fit' for the ratio of both sizes "
        "(default: the sizes must be equal)",
    )
    group.add_argument(
        "--offset",
        type=float,
        nargs=2,
        metavar=("X", "Y"),
        help="position in the image, in pixels, of the origin of the file",
    )
    group.add_argument(
        "--geometry",
        choices=("outline", "nucleus"),
        default="outline",
        help="outline of QuPath cells to read (default: %(default)s)",
    )
    group.add_argument(
        "--points",
        choices=("skip", "prompts"),
        default="skip",
        help="how to use points without an outline: 'prompts' lets the model outline an object at each "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--image-name", metavar="NAME", help="image of a file of several images (default: name of IMAGE)"
    )
    group.add_argument(
        "--format",
        choices=[entry.name for entry in readable()],
        help="format of the file (default: recognised by the content)",
    )


def _scale(text: str) -> float | Literal["fit"]:
    return "fit" if text == "fit" else float(text)


def run_import(args: argparse.Namespace, output: Output) -> None:
    """Add labels to the annotations of an image; the docks show them when the image is opened."""
    with open_image_or_slide(args.image, output) as image:
        _import(args, output, image)


def _import(args: argparse.Namespace, output: Output, image: LoadedImage) -> None:
    from ...annotations import pixel_digest
    from ...formats import ReadOptions
    from ...session import Session, journal_path, sessions_folder

    path = args.journal or journal_path(image.pixels, sessions_folder())
    options = ReadOptions(
        args.image_name,
        format=args.format,
        as_=args.as_,
        threshold=args.threshold,
        overlap=args.overlap,
        geometry=args.geometry,
        points=args.points,
        scale=args.scale,
        offset_xy=args.offset and tuple(args.offset),
        orientation=image.orientation,
        digest=pixel_digest(image.pixels),
    )
    notes: list[str] = []
    model = load(args, output) if args.points == "prompts" else None
    session = Session(image.pixels, image.name, model, journal=path)
    session.message.connect(output.note)
    notes += session.notes
    try:
        job = session.files.read_job(args.labels, options)
        new = run(job) if model is None else output.run(job)
        notes += session.files.import_notes(new)
        added = session.files.import_change(new).apply()
    finally:
        session.close()
    for note in notes:
        output.note(note)
    output.result(
        {"annotations": len(added), "journal": str(path), "notes": notes},
        f"Imported {plural(len(added), 'object')} into {path}; open {args.image} in napari to see them.",
    )


def _with_name(journal: Journal, name: str | None) -> Journal:
    """Write the current name of the image into a journal that may be changed, so that no file holds an earlier name."""
    from ...annotations import Journal, open_journal

    if name is None or name == journal.header.image:
        return journal
    journal.close()
    try:
        return Journal(journal.path, replace(journal.header, image=name))
    except StorageError:  # It is on a read-only disk.
        return open_journal(journal.path)


EXPORT = Subcommand(
    "write the annotations of an image as label files, or a project as a training dataset",
    "sampath export tissue.png -o labels/ --formats png,geojson",
    export_arguments,
    run_export,
)
IMPORT = Subcommand(
    "add label files to the annotations of an image",
    "sampath import labels/ tissue.png",
    import_arguments,
    run_import,
)
