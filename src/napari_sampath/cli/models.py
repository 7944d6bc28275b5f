"""`sampath models`: which encoders and heads there are, and which are on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import load_config
from ..errors import UnknownNameError
from ..registry import unknown_name
from .output import Output, table
from .verb import Verb

if TYPE_CHECKING:
    from ..encoders import EncoderInfo


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath models`."""
    parser.add_argument(
        "pattern", nargs="?", default="*", metavar="PATTERN", help="only names that match, such as 'vit_*'"
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """List encoders, then heads."""
    from ..encoders import list_encoders
    from ..encoders import registry as encoder_registry
    from ..heads import list_bundles, list_heads
    from ..heads import registry as head_registry

    encoders = [encoder_line(encoder_registry[name].info) for name in list_encoders(args.pattern)]
    heads = [head_line(name) for name in list_bundles(args.pattern)]
    kinds = [{"name": name, "summary": head_registry[name].summary} for name in list_heads(args.pattern)]
    if not (encoders or heads or kinds):
        names = [*list_encoders(), *list_bundles(), *list_heads()]
        raise UnknownNameError(unknown_name("model", args.pattern, names))
    output.result(
        {
            "encoders": encoders,
            "heads": heads,
            "kinds_of_head": kinds,
            "weights_folder": str(load_config().weights_dir),
        },
        "\n\n".join(filter(None, [_encoder_table(encoders), _head_table(heads), _kind_table(kinds)])),
    )


def encoder_line(info: EncoderInfo) -> dict[str, object]:
    """Collect what is told of an encoder.

    Returns:
        "weights" is "shipped", "here", "to be downloaded", "missing", or "your own".
    """
    from ..encoders import sam, tiny

    if info.name in sam.FILES:
        here = (load_config().weights_dir / sam.FILES[info.name].name).is_file()
        weights = "here" if here else "to be downloaded"
    elif info.name == tiny.INFO.name:
        weights = "shipped" if tiny.WEIGHTS.is_file() else "missing"
    else:
        weights = "your own"
    return {
        "name": info.name,
        "summary": info.summary,
        "licence": info.licence,
        "source": info.source_url,
        "answers_prompts": info.promptable,
        "size_mb": info.size_mb,
        "weights": weights,
    }


def _encoder_table(lines: list[dict[str, Any]]) -> str:
    rows = [
        [
            str(line["name"]),
            _size(line["size_mb"]),
            str(line["weights"]),
            f"{line['summary']} Licence: {line['licence']}.",
        ]
        for line in lines
    ]
    return table(["ENCODER", "SIZE", "WEIGHTS", "WHAT IT IS"], rows) if rows else ""


def head_line(name: str) -> dict[str, object]:
    """Collect what is told of a trained head that ships with the package."""
    from ..heads import load_head

    loaded = load_head(name)
    return {
        "name": name,
        "kind": loaded.head.kind,
        "encoder": loaded.encoder_name,
        "classes": [info.name for info in loaded.classes],
        "licence": loaded.metadata.licence,
        "attribution": loaded.metadata.attribution,
        "metrics": dict(loaded.metadata.metrics),
        "size_mb": Path(loaded.source).stat().st_size / 1e6,
    }


def _head_table(lines: list[dict[str, Any]]) -> str:
    rows = [
        [
            line["name"],
            _size(line["size_mb"]),
            line["encoder"],
            f"{', '.join(line['classes'])}. Licence: {line['licence']}.",
        ]
        for line in lines
    ]
    return table(["TRAINED HEAD", "SIZE", "ON", "CLASSES"], rows) if rows else ""


def _kind_table(lines: list[dict[str, str]]) -> str:
    return (
        table(["KIND OF HEAD", "WHAT IT IS"], [[line["name"], line["summary"]] for line in lines])
        if lines
        else ""
    )


def _size(size_mb: float) -> str:
    return f"{size_mb:,.0f} MB" if size_mb else "-"


VERB = Verb(
    "list encoders and heads, their licences, and which are on this machine",
    "sampath models 'vit_*'",
    arguments,
    run,
)
