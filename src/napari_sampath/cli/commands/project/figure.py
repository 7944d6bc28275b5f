"""`sampath figure`: an image with outlines, legend and scale bar, and `sampath project report`."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from ....errors import DatasetError, UnknownNameError
from ....files.messages import plural
from ....registry import unknown_name
from ...fields import add_fields, from_args
from ...output import Output
from ...subcommand import Subcommand, add_output, check_suffix, journal_of, open_image_or_slide
from .opening import open_project

if TYPE_CHECKING:
    from ....session import Session


def figure_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath figure`."""
    from ....session.figures import FigureSettings

    parser.add_argument(
        "source", type=Path, metavar="SOURCE", help="image that was annotated on this machine, or a project"
    )
    add_output(parser, "figure to write, .svg or .png")
    parser.add_argument("--image", metavar="NAME", help="image of the project; required with a project")
    parser.add_argument(
        "--region",
        type=int,
        nargs=4,
        metavar=("X", "Y", "WIDTH", "HEIGHT"),
        help="part of the image in pixels (default: the whole image)",
    )
    parser.add_argument(
        "--mpp", type=float, metavar="UM", help="micrometres per pixel (default: those of the image)"
    )
    parser.add_argument(
        "--hide", action="append", default=[], metavar="CLASS", help="class to leave out; may be repeated"
    )
    add_fields(parser, FigureSettings, "figure")


def run_figure(args: argparse.Namespace, output: Output) -> None:
    """Draw an image with its objects."""
    from ....session.figures import FigureSettings, make_figure, write_figure

    check_suffix(args.output, ".png", ".svg")
    settings = from_args(FigureSettings, args)
    with contextlib.ExitStack() as stack:
        session = _open(args, output, stack)
        height, width = session.hw
        x, y, w, h = args.region or (0, 0, width, height)
        hidden = frozenset(_class_id(session, name) for name in args.hide)
        mpp = args.mpp or session.files.mpp
        box = (y, x, y + h, x + w)
        figure = make_figure(session.image, session.document, box, session.name, mpp, settings, hidden)
    write_figure(args.output, figure)
    for note in figure.notes:
        output.note(note)
    size = [figure.image.shape[1], figure.image.shape[0]]
    values = {"file": str(args.output), "objects": len(figure.outlines), "size": size, "notes": figure.notes}
    output.result(values, f"Wrote {args.output} with {plural(len(figure.outlines), 'object')}.")


def _open(args: argparse.Namespace, output: Output, stack: contextlib.ExitStack) -> Session:
    """Open the annotations of the source in memory, until the stack is closed.

    Raises:
        DatasetError: If the source is a project and no image is named, or its file is missing.
        JournalError: If the image was never annotated on this machine.
    """
    from ....session import Session, sessions_folder
    from ....session.project.exporting import annotated
    from ....session.project.journals import read_document
    from ....session.project.project import Project

    if args.source.is_dir() and Project.exists(args.source):
        args.project = args.source
        project = open_project(args, output)
        if args.image is None:
            names = ", ".join(image.name for image in list(project.images.values())[:5])
            raise DatasetError(
                f"'{args.source}' is a project; add --image with one of its images ({names} ...)."
            )
        image = project.image(args.image)
        path = project.file_of(image)
        if path is None:
            raise DatasetError(
                f"The file of '{image.name}' is missing; run 'sampath project check' to find it."
            )
        return stack.enter_context(annotated(project, image, path, sessions_folder()))
    loaded = stack.enter_context(open_image_or_slide(args.source, output))
    journal = journal_of(args.source, loaded.pixels)
    document = read_document(journal)
    session = Session(loaded.pixels, loaded.name, classes=document.classes)
    session.document.become(document)
    session.files.mpp = loaded.mpp
    stack.callback(session.close)
    return session


def _class_id(session: Session, name: str) -> int:
    info = session.classes.find(name)
    if info is None:
        raise UnknownNameError(unknown_name("class", name, [info.name for info in session.classes]))
    return info.id


def report_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath project report`."""
    add_output(parser, "HTML file to write")


def report(args: argparse.Namespace, output: Output) -> None:
    """Write the report of a project."""
    from ....session import sessions_folder
    from ....session.report import report_job

    path = output.run(report_job(open_project(args, output), args.output, sessions_folder()))
    output.result({"file": str(path)}, f"Wrote {path}.")


FIGURE = Subcommand(
    "draw an image with outlines in class colours, a legend and a scale bar",
    "sampath figure tissue.png -o figure.svg --region 0 0 1000 800 --mpp 0.25",
    figure_arguments,
    run_figure,
)
