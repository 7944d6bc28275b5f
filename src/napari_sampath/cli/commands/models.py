"""`sampath models`: list encoders and heads, and which weights are on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config import load_config
from ...errors import UnknownNameError
from ...registry import unknown_name
from ..output import Output, table
from ..subcommand import Subcommand

if TYPE_CHECKING:
    from ...encoders import EncoderEntry


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath models`."""
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        metavar="PATTERN",
        help="list only names that match this pattern, such as 'vit_*'",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """List encoders, trained heads and kinds of head."""
    from ...encoders import list_encoders
    from ...encoders import registry as encoder_registry
    from ...heads import list_bundles, list_heads
    from ...heads import registry as head_registry

    encoders = [encoder_row(encoder_registry[name]) for name in list_encoders(args.pattern)]
    encoders.sort(key=lambda row: (row["weights"] != "shipped", not row["answers_prompts"]))
    heads = [head_row(name) for name in list_bundles(args.pattern)]
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
        _text(encoders, heads, kinds),
    )


def encoder_row(entry: EncoderEntry) -> dict[str, Any]:
    """Return the name, licence, attribution, size and other properties of an encoder.

    "weights" is "shipped", "downloaded", "not downloaded", "on request", "missing" or "your own".
    """
    from ...encoders.tiny import tiny

    info = entry.info
    if info.name in tiny.MODELS:
        weights = "shipped" if tiny.MODELS[info.name].weights.is_file() else "missing"
    elif not entry.file:
        weights = "your own"
    elif entry.is_downloaded():
        weights = "downloaded"
    else:
        weights = "on request" if info.gated else "not downloaded"
    return {
        "name": info.name,
        "summary": info.summary,
        "licence": info.licence,
        "attribution": info.attribution,
        "model_card": None if info.model_card is None else str(info.model_card),
        "source": info.source_url,
        "answers_prompts": info.promptable,
        "size_mb": info.size_mb,
        "weights": weights,
    }


def head_row(name: str) -> dict[str, Any]:
    """Return the name, classes, metrics and other properties of a trained head that ships with the package."""
    from ...encoders.tiny.tiny import MODEL_CARD
    from ...heads import load_head

    loaded = load_head(name)
    return {
        "name": name,
        "kind": loaded.head.kind,
        "encoder": loaded.encoder_name,
        "classes": [info.name for info in loaded.classes],
        "licence": loaded.metadata.licence,
        "attribution": loaded.metadata.attribution,
        "model_card": str(MODEL_CARD),
        "metrics": dict(loaded.metadata.metrics),
        "size_mb": Path(loaded.source).stat().st_size / 1e6,
    }


def _text(encoders: list[dict[str, Any]], heads: list[dict[str, Any]], kinds: list[dict[str, Any]]) -> str:
    encoder_rows = [
        [
            row["name"],
            _size(row["size_mb"]),
            row["weights"],
            "yes" if row["answers_prompts"] else "no",
            f"{row['summary']} Licence: {row['licence']}.",
        ]
        for row in encoders
    ]
    head_rows = [
        [
            row["name"],
            _size(row["size_mb"]),
            row["encoder"],
            f"{', '.join(row['classes'])}. Licence: {row['licence']}.",
        ]
        for row in heads
    ]
    tables = [
        (["ENCODER", "SIZE", "WEIGHTS", "PROMPTS", "SUMMARY"], encoder_rows),
        (["TRAINED HEAD", "SIZE", "ENCODER", "CLASSES"], head_rows),
        (["KIND OF HEAD", "SUMMARY"], [[row["name"], row["summary"]] for row in kinds]),
    ]
    shipped = [row for row in (*encoders, *heads) if row["model_card"]]
    blocks = [table(headings, rows) for headings, rows in tables if rows]
    if shipped:
        sources = sorted({part for row in shipped for part in row["attribution"].split("; ")})
        blocks.append(
            f"The shipped weights were trained on: {'; '.join(sources)}.\nModel card: {shipped[0]['model_card']}"
        )
    return "\n\n".join(blocks)


def _size(size_mb: float) -> str:
    return f"{size_mb:,.0f} MB" if size_mb else "-"


SUBCOMMAND = Subcommand(
    "list encoders and heads, their licences, and which weights are on this machine",
    "sampath models 'vit_*'",
    arguments,
    run,
)
