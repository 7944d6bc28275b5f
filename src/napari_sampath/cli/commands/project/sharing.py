"""The actions of `sampath project` that share a project: pack, unpack and merge."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from ....files.messages import plural
from ...output import Output


def pack_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `pack`."""
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="zip file to write")
    parser.add_argument(
        "--without-images", action="store_true", help="leave out images that are used in place"
    )


def pack(args: argparse.Namespace, output: Output) -> None:
    """Pack a project."""
    from ....session import sessions_folder
    from ....session.project.project import Project
    from ....session.project.sharing import pack_job

    sessions_dir = sessions_folder()
    path = output.run(pack_job(Project(args.project), args.output, sessions_dir, not args.without_images))
    size = path.stat().st_size
    output.result({"file": str(path), "bytes": size}, f"Wrote {path} ({size / 1e6:.1f} MB).")


def unpack_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `unpack`."""
    parser.add_argument("source", type=Path, metavar="FILE", help="zip file made by 'sampath project pack'")


def unpack(args: argparse.Namespace, output: Output) -> None:
    """Unpack a project."""
    from ....session import sessions_folder
    from ....session.project.sharing import unpack_job

    project = output.run(unpack_job(args.source, args.project, sessions_folder()))
    text = f"Unpacked '{project.name}' with {plural(len(project.images), 'image')} into {project.path}."
    output.result({"path": str(project.path), "images": len(project.images)}, text)


def merge_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `merge`."""
    parser.add_argument("source", type=Path, metavar="OTHER", help="zip file or folder of the other project")
    parser.add_argument(
        "--take-theirs",
        action="append",
        default=[],
        metavar="IMAGE",
        help="use the other version of an image that was changed on both sides; ours is kept in conflicts/",
    )


def merge(args: argparse.Namespace, output: Output) -> int:
    """Merge a project; return 1 if there are conflicts or an image could not be merged."""
    from ....session import sessions_folder
    from ....session.project.merging import merge_job, take_theirs
    from ....session.project.project import Project

    project, sessions_dir = Project(args.project), sessions_folder()
    result = output.run(merge_job(project, args.source, sessions_dir))
    lines = [
        f"{plural(len(result.added), 'image')} added, {len(result.updated)} updated, {len(result.unchanged)} unchanged."
    ]
    if result.classes:
        lines.append(f"New classes: {', '.join(result.classes)}.")
    if result.heads:
        lines.append(f"New heads, not in use yet: {', '.join(result.heads)}.")
    open_conflicts = 0
    for conflict in result.conflicts:
        if conflict.name in args.take_theirs:
            kept = take_theirs(project, conflict.file, conflict.digest, sessions_dir)
            lines.append(f"{conflict.name}: took the other version; ours is in {kept}.")
            continue
        open_conflicts += 1
        lines.append(
            f"conflict in {conflict.name}: ours has {conflict.ours}, the other has {conflict.theirs}; ours is kept, "
            f"the other is in {conflict.file}."
        )
    lines += [f"{name} was not merged: {reason}" for name, reason in result.failed.items()]
    output.result(asdict(result), "\n".join(lines))
    return 1 if open_conflicts or result.failed else 0


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `export`."""
    from ....formats.registry import writable
    from .datasets import layout_arguments

    names = ", ".join(entry.name for entry in writable())
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="new or empty folder"
    )
    parser.add_argument(
        "--formats",
        default="png",
        metavar="LIST",
        help=f"comma-separated list of {names} (default: %(default)s)",
    )
    parser.add_argument(
        "--reviewed", action="store_true", help="leave out objects that nobody made, changed or reviewed"
    )
    layout_arguments(parser)


def export(args: argparse.Namespace, output: Output) -> int:
    """Export a project; return 1 if nothing was exported."""
    from ....session import sessions_folder
    from ....session.project.exporting import export_project_job
    from .datasets import export_dataset
    from .opening import open_project

    if args.layout or args.update:
        args.reviewed_only = args.reviewed_only or args.reviewed or None
        return export_dataset(args, output)
    project = open_project(args, output)
    formats = tuple(word.strip() for word in args.formats.split(",") if word.strip())
    result = output.run(export_project_job(project, args.output, formats, sessions_folder(), args.reviewed))
    lines = [
        f"Exported {plural(len(result.images), 'image')} with {plural(result.objects, 'object')} to {args.output}."
    ]
    if result.unreviewed:
        lines.append(
            f"{plural(result.unreviewed, 'object')} not reviewed; --reviewed leaves unreviewed objects out."
        )
    lines += [f"{name} was not exported: {reason}" for name, reason in result.skipped.items()]
    lines += list(dict.fromkeys(result.notes))
    output.result(asdict(result), "\n".join(lines))
    return 0 if result.images else 1
