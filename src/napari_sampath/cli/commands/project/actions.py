"""The actions of `sampath project` on projects, images and classes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import DatasetError, DuplicateNameError, SampathError
from ....files.messages import plural
from ...output import Output, table
from ...subcommand import Subcommand
from . import comparing, figure, sharing
from .opening import open_project

if TYPE_CHECKING:
    from ....session.project.project import Project

_IMAGE_HELP = "name of an image in the project"


def _nothing(_parser: argparse.ArgumentParser) -> None:
    pass


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    from ....session.project.class_files import PRESETS

    parser.add_argument("--name", default="", help="name of the project (default: that of the folder)")
    parser.add_argument("--preset", choices=list(PRESETS), help="class list to start with")
    parser.add_argument("--classes", type=Path, metavar="FILE", help="class list, CSV or QuPath JSON")


def _create(args: argparse.Namespace, output: Output) -> None:
    from ....session.project.class_files import preset, read_classes
    from ....session.project.project import Project

    classes = preset(args.preset) if args.preset else ()
    if args.classes is not None:
        classes = read_classes(args.classes)
    project = Project.create(args.project, args.name, classes)
    text = f"Created the project '{project.name}' in {project.path}, {plural(len(classes), 'class')}."
    output.result(_values(project), text.replace("classs", "classes"))


def _show(args: argparse.Namespace, output: Output) -> None:
    project = open_project(args, output)
    values = _values(project)
    rows = [
        (
            image.name,
            f"{image.hw[1]} x {image.hw[0]}",
            "yes" if image.training else "no",
            project.split_of(image) or "-",
            project.slide_of(image),
            "missing" if project.file_of(image) is None else "",
        )
        for image in project.images.values()
    ]
    classes = ", ".join(f"{info.id} {info.name}" for info in project.classes) or "none"
    text = f"{project.name}: {plural(len(rows), 'image')}; classes: {classes}"
    if rows:
        text += "\n" + table(("image", "size (px)", "training", "split", "slide or case", "file"), rows)
    output.result(values, f"{text}\n\n{project.notes}" if project.notes else text)


def _values(project: Project) -> dict[str, Any]:
    return {
        "name": project.name,
        "path": str(project.path),
        "notes": project.notes,
        "classes": [{"id": c.id, "name": c.name, "color": list(c.color)} for c in project.classes],
        "images": [
            {
                "name": image.name,
                "digest": image.digest,
                "file": None if (path := project.file_of(image)) is None else str(path),
                "size": [image.hw[1], image.hw[0]],
                "training": image.training,
                "regions": [list(box) for box in image.regions],
                "slide": project.slide_of(image),
                "split": project.split_of(image) or None,
            }
            for image in project.images.values()
        ],
    }


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image file")
    parser.add_argument("--copy", action="store_true", help="copy the files into the project")
    parser.add_argument("--no-training", action="store_true", help="do not train heads on these images")
    parser.add_argument("--slide", default="", help="slide or case of these images")


def _add(args: argparse.Namespace, output: Output) -> int:
    from ....annotations import pixel_digest
    from ....images import open_image

    project, added, skipped = open_project(args, output), [], {}
    for path in args.images:
        try:
            with open_image(path) as image:
                entry = project.add(
                    pixel_digest(image.pixels),
                    image.pixels.shape[:2],
                    image.name,
                    path,
                    args.copy,
                    not args.no_training,
                    image.mpp,
                    args.slide,
                )
            added.append(entry.name)
        except DuplicateNameError as error:
            skipped[str(path)] = str(error)
        except SampathError as error:
            skipped[str(path)] = str(error)
    lines = [f"Added {plural(len(added), 'image')} to '{project.name}'."]
    lines += [f"{path}: {reason}" for path, reason in skipped.items()]
    output.result({"added": added, "skipped": skipped}, "\n".join(lines))
    return 1 if skipped and not added else 0


def _image_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="NAME", help=_IMAGE_HELP)


def _remove(args: argparse.Namespace, output: Output) -> None:
    project = open_project(args, output)
    image = project.image(args.image)
    project.remove(image.digest)
    output.result({"removed": image.name}, f"Removed '{image.name}'; its annotations are kept.")


def _rename_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME", help="NEW, or IMAGE NEW to rename an image")


def _rename(args: argparse.Namespace, output: Output) -> int:
    project = open_project(args, output)
    if len(args.names) == 1:
        project.rename(args.names[0])
        output.result({"name": project.name}, f"The project is now called '{project.name}'.")
        return 0
    if len(args.names) == 2:
        before = project.image(args.names[0])
        image = project.rename_image(before.digest, args.names[1])
        output.result({"name": image.name}, f"'{before.name}' is now called '{image.name}'.")
        return 0
    output.note("rename takes a new name, or the name of an image and its new name.")
    return 2


def _training_arguments(parser: argparse.ArgumentParser) -> None:
    _image_argument(parser)
    parser.add_argument("state", choices=("in", "out"), help="in: train heads on the image; out: do not")
    parser.add_argument("--slide", help="slide or case of the image")
    parser.add_argument("--split", choices=("train", "val", "test"), help="split of its slide or case")


def _training(args: argparse.Namespace, output: Output) -> None:
    project = open_project(args, output)
    image = project.set_training(project.image(args.image).digest, args.state == "in")
    if args.slide is not None:
        image = project.set_slide(image.digest, args.slide)
    if args.split is not None and not project.split_of(image):
        raise DatasetError(
            f"'{image.name}' has no verified labels, so its slide or case has no split yet; verify an area of it first."
        )
    if args.split is not None:
        project.set_split(project.slide_of(image), args.split)
    text = "in" if image.training else "not in"
    output.result(
        {"name": image.name, "training": image.training}, f"'{image.name}' is {text} the training set."
    )


def _classes_arguments(parser: argparse.ArgumentParser) -> None:
    from ....session.project.class_files import PRESETS

    group = parser.add_mutually_exclusive_group()
    group.add_argument("--preset", choices=list(PRESETS), help="add the classes of a preset")
    group.add_argument("--read", type=Path, metavar="FILE", help="add classes from a CSV or QuPath JSON file")
    group.add_argument(
        "--write", type=Path, metavar="FILE", help="write the class list as CSV or QuPath JSON"
    )
    group.add_argument("--rename", nargs=2, metavar=("OLD", "NEW"), help="rename a class")
    group.add_argument("--remove", metavar="CLASS", help="remove a class, with its objects in all images")
    parser.add_argument("--into", metavar="CLASS", help="with --remove: class that gets the objects")


def _classes(args: argparse.Namespace, output: Output) -> int:
    from dataclasses import replace

    from ....annotations import ClassList
    from ....session import sessions_folder
    from ....session.project.class_files import preset, read_classes, write_classes_file
    from ....session.project.journals import remove_class_job

    project = open_project(args, output)
    present, failed = ClassList(project.classes), {}
    if args.preset:
        project.add_classes(preset(args.preset))
    elif args.read:
        project.add_classes(read_classes(args.read))
    elif args.write:
        write_classes_file(args.write, project.classes)
    elif args.rename:
        info = present.by_name(args.rename[0])
        changed = [replace(c, name=args.rename[1]) if c.id == info.id else c for c in project.classes]
        project.set_classes(changed)
    elif args.remove:
        into = None if args.into is None else present.by_name(args.into).id
        class_id = present.by_name(args.remove).id
        failed = output.run(remove_class_job(project, class_id, into, sessions_folder()))
    rows = [(str(c.id), c.name, "#{:02x}{:02x}{:02x}".format(*c.color)) for c in project.classes]
    values = {"classes": _values(project)["classes"], "failed": failed}
    text = table(("number", "class", "colour"), rows) if rows else f"'{project.name}' has no classes."
    text += "".join(f"\n{name} still has the class: {reason}" for name, reason in failed.items())
    output.result(values, text)
    return 1 if failed else 0


def _notes_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="?", metavar="TEXT", help="new notes (default: show the notes)")


def _notes(args: argparse.Namespace, output: Output) -> None:
    project = open_project(args, output)
    if args.text is not None:
        project.set_notes(args.text)
    output.result({"notes": project.notes}, project.notes)


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--search",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="folder in which to search for missing images",
    )
    parser.add_argument(
        "--remove-duplicates", action="store_true", help="remove the second training sample of an image"
    )


def _check(args: argparse.Namespace, output: Output) -> int:
    from ....session.project.checking import check_job, remove_duplicates

    project = open_project(args, output)
    report = output.run(check_job(project, args.search))
    lines = [f"found again: {name} in {path}" for name, path in report.found.items()]
    problems = []
    if args.remove_duplicates:
        remove_duplicates(project, report)
    for sample, name in report.duplicates:
        if args.remove_duplicates:
            lines.append(f"removed the sample '{sample}', which has the same pixels as '{name}'")
        else:
            problems.append(f"'{sample}' has the same pixels as '{name}'; use --remove-duplicates")
    problems += [f"the file of '{name}' is missing; use --search FOLDER" for name in report.missing]
    problems += [f"the file of '{name}' has changed since the image was added" for name in report.changed]
    problems += [f"'{name}' cannot be read: {reason}" for name, reason in report.unreadable.items()]
    values = {
        "images": len(project.images),
        "found": {name: str(path) for name, path in report.found.items()},
        "problems": problems,
    }
    summary = f"{plural(len(project.images), 'image')}, {plural(len(problems), 'problem')}"
    output.result(values, "\n".join([*lines, *problems, summary]))
    return 1 if problems else 0


def _action(
    summary: str,
    arguments: Callable[[argparse.ArgumentParser], None],
    run: Callable[[argparse.Namespace, Output], int | None],
) -> Subcommand:
    return Subcommand(summary, "", arguments, run)


ACTIONS: dict[str, Subcommand] = {
    "create": _action("create a project in a new folder", _create_arguments, _create),
    "show": _action("show images, classes and notes", _nothing, _show),
    "add": _action("add images", _add_arguments, _add),
    "remove": _action("remove an image; its annotations are kept", _image_argument, _remove),
    "rename": _action("rename the project or an image", _rename_arguments, _rename),
    "training": _action("add an image to the training set, or remove it", _training_arguments, _training),
    "classes": _action("show and change the class list", _classes_arguments, _classes),
    "notes": _action("show or replace the notes", _notes_arguments, _notes),
    "check": _action("find duplicates and missing or changed images", _check_arguments, _check),
    "export": _action(
        "export all images by split, in formats of other programs", sharing.export_arguments, sharing.export
    ),
    "pack": _action(
        "pack the project with its annotations as a zip file", sharing.pack_arguments, sharing.pack
    ),
    "unpack": _action("unpack a zip file into a new project", sharing.unpack_arguments, sharing.unpack),
    "compare": _action(
        "compare two readers: agreement for each class, and their consensus",
        comparing.compare_arguments,
        comparing.compare,
    ),
    "report": _action(
        "write counts, areas, heads and learning curves as one HTML file",
        figure.report_arguments,
        figure.report,
    ),
    "merge": _action("merge another copy of the project", sharing.merge_arguments, sharing.merge),
}
"""Name -> action."""
