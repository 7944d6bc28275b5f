"""`sampath slide`: describe a whole-slide image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..output import Output
from ..subcommand import Subcommand


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath slide`."""
    parser.add_argument(
        "action",
        choices=["info"],
        help="info: size, levels, scale, reader and identity, without reading all pixels",
    )
    parser.add_argument(
        "slide", type=Path, metavar="SLIDE", help="slide file, or folder of an OME-Zarr or DICOM slide"
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Print the properties of a slide."""
    from ...images.slides import open_slide

    with open_slide(args.slide) as slide:
        levels = [{"hw": list(level.hw), "factor": level.factor} for level in slide.levels]
        info: dict[str, Any] = {
            "slide": str(args.slide),
            "hw": list(slide.hw),
            "mpp": slide.mpp,
            "levels": levels,
            "reader": slide.reader,
            "digest": slide.digest,
            "remarks": list(slide.remarks),
        }
        scale = (
            "unknown scale" if slide.mpp is None else f"{slide.mpp:g} µm per pixel{_magnification(slide.mpp)}"
        )
        sizes = ", ".join(f"{level.hw[1]} x {level.hw[0]} (1/{level.factor:g})" for level in slide.levels[1:])
        lines = [
            f"{args.slide}: {slide.hw[1]} x {slide.hw[0]} px (width x height), {scale}",
            f"coarser levels: {sizes or 'none'}",
            f"read by {slide.reader}; digest {slide.digest}",
            *(f"note: {remark}" for remark in slide.remarks),
        ]
    output.result(info, "\n".join(lines))


def _magnification(mpp: float) -> str:
    """Name the objective that a scale corresponds to: 10 µm per pixel at 1x."""
    for power in (80, 40, 20, 10, 5, 2.5):
        if abs(mpp * power / 10 - 1) < 0.2:
            return f" ({power:g}x)"
    return ""


SUBCOMMAND = Subcommand(
    "describe a whole-slide image: size, levels, scale, reader",
    "sampath slide info biopsy.svs",
    arguments,
    run,
)
