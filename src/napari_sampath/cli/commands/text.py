"""`sampath text`: classify the objects of a label file by texts."""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...arrays import ClassInfo
from ...errors import PromptError
from ...files.messages import plural
from ..fields import add_fields, from_args
from ..output import Output
from ..subcommand import Subcommand, add_image, add_output, open_image_or_slide

if TYPE_CHECKING:
    from ...formats import Objects
    from ...images import LoadedImage
    from ...predict.text.classify import TextMatch


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath text`."""
    from ...formats.registry import writable
    from ...predict.text.settings import TEMPLATES, TextSettings

    add_image(parser)
    add_output(parser, "folder to write the label files to", "FOLDER")
    parser.add_argument(
        "--objects",
        type=Path,
        required=True,
        metavar="FILE",
        help="label file with the objects, such as the output of 'everything' or 'similar'",
    )
    parser.add_argument(
        "--formats",
        default="geojson",
        metavar="LIST",
        help=f"comma-separated list of {', '.join(entry.name for entry in writable())} (default: %(default)s)",
    )
    group = parser.add_argument_group("texts")
    group.add_argument(
        "--prompt",
        action="append",
        required=True,
        type=_prompt,
        metavar="CLASS=TEXT",
        help="name of a class and a text that describes it; the name alone is its own text; may be repeated, also for "
        "one class",
    )
    group.add_argument(
        "--reject",
        action="append",
        default=[],
        metavar="TEXT",
        help="text that describes unwanted objects, which are left out; may be repeated",
    )
    group.add_argument(
        "--template",
        action="append",
        metavar="SENTENCE",
        help="sentence with {} for the text; may be repeated (default: "
        + ", ".join(f"'{template}'" for template in TEMPLATES)
        + ")",
    )
    group.add_argument(
        "--min-score", type=float, default=0.0, metavar="FLOAT", help="minimum score, 0..1 (default: 0)"
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        default="quiltnet",
        metavar="NAME",
        help="quiltnet, plip, biomedclip, hf-hub:OWNER/NAME, a folder with a model that open_clip has saved, or an "
        "architecture of open_clip (default: %(default)s)",
    )
    model.add_argument("--weights", type=Path, metavar="FILE", help="file with your own weights")
    add_fields(parser, TextSettings, "crops")


def run(args: argparse.Namespace, output: Output) -> None:
    """Classify the objects, write the label files, and list the objects, most similar first."""
    from ...config import load_config
    from ...encoders.text.loading import load_text_model_job
    from ...formats import ReadOptions, import_objects
    from ...predict.text.classify import classify_by_text_job
    from ...predict.text.settings import TextSettings

    settings = from_args(
        TextSettings, args, TextSettings(templates=tuple(args.template)) if args.template else None
    )
    prompts: dict[str, list[str]] = defaultdict(list)
    for name, text in args.prompt:
        prompts[name].append(text)
    with open_image_or_slide(args.image, output) as image:
        hw = (image.pixels.shape[0], image.pixels.shape[1])
        objects = import_objects(
            args.objects, image.name, hw, ReadOptions(as_="objects", orientation=image.orientation)
        )
        for note in objects.notes:
            output.note(note)
        if not objects.items:
            raise PromptError(f"'{args.objects}' contains no objects; segment the image first.")
        model = output.run(load_text_model_job(args.model, args.weights, load_config().device))
        masks = [obj.mask for obj in objects.items]
        matches = output.run(classify_by_text_job(image.pixels, masks, prompts, model, args.reject, settings))
        _write(args, output, image, objects, matches, list(prompts), model.name)


def _write(
    args: argparse.Namespace,
    output: Output,
    image: LoadedImage,
    objects: Objects,
    matches: list[TextMatch],
    names: list[str],
    model: str,
) -> None:
    """Write the classified objects and the result."""
    from dataclasses import replace

    from ...formats import LabelledObject, Snapshot, export_labels
    from ...formats.labels import default_color

    classes = tuple(ClassInfo(number, name, default_color(number)) for number, name in enumerate(names, 1))
    numbers = {info.name: info.id for info in classes}
    items: list[LabelledObject] = []
    rows: list[dict[str, Any]] = []
    for number, (obj, match) in enumerate(zip(objects.items, matches, strict=True), start=1):
        if match.name is None or match.score < args.min_score:
            continue
        details = {"source": "text", "score": round(match.score, 4), "model": model}
        items.append(LabelledObject(obj.number or number, numbers[match.name], obj.mask, details))
        rows.append(
            {
                "id": obj.number or number,
                "class": match.name,
                "score": round(match.score, 4),
                "similarity": round(match.similarity, 4),
            }
        )
    labels = replace(objects, classes=classes, items=tuple(items)).to_labels()
    snapshot = Snapshot(
        image.name, None, labels.class_map, labels.instance_map, classes=classes, details=labels.details
    )
    notes: list[str] = []
    formats = [word.strip() for word in args.formats.split(",")]
    files = export_labels(args.output, snapshot, formats, notes)
    for note in notes:
        output.note(note)
    rows.sort(key=lambda row: -row["similarity"])
    found = [f"{plural(sum(row['class'] == name for row in rows), 'object')} of '{name}'" for name in names]
    output.result(
        {"files": [str(file) for file in files], "model": model, "objects": rows},
        f"{args.output}: {', '.join(found)}; {len(matches) - len(rows)} left out",
    )


def _prompt(text: str) -> tuple[str, str]:
    name, separator, description = text.partition("=")
    if not name.strip() or (separator and not description.strip()):
        raise ValueError(text)
    return name.strip(), description.strip() or name.strip()


_prompt.__name__ = "CLASS=TEXT"

SUBCOMMAND = Subcommand(
    "classify objects by texts that describe the classes",
    "sampath text tissue.png --objects objects.tif --prompt nucleus='a dark nucleus' --prompt gland -o classes/",
    arguments,
    run,
)
