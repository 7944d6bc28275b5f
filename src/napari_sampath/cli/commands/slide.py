"""`sampath slide`: describe a whole-slide image, or write a copy of it with coarse levels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ..output import Output
from ..subcommand import Subcommand


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath slide`."""
    parser.add_argument(
        "action",
        choices=["info", "pyramid"],
        help="info: size, levels, scale, reader and identity, without reading all pixels; pyramid: write a tiled copy "
        "with coarse levels (JPEG, quality 90), for slides whose overviews are slow",
    )
    parser.add_argument(
        "slide", type=Path, metavar="SLIDE", help="slide file, or folder of an OME-Zarr or DICOM slide"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="name of the copy, ending in .tif (pyramid only)"
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Print the properties of a slide, or write a copy."""
    if args.action == "pyramid":
        _write_pyramid(args.slide, args.output, output)
        return
    if args.output is not None:
        raise ConfigError("'slide info' writes no file; remove -o.")
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


def _write_pyramid(source: Path, target: Path | None, output: Output) -> None:
    from ...images.slides import open_slide
    from ...images.slides.pyramid import pyramid_job

    if target is None or target.suffix.lower() not in (".tif", ".tiff"):
        given = "no name" if target is None else f"'{target}'"
        raise ConfigError(f"The copy has {given}; give one that ends in .tif with -o.")
    if target.exists():
        raise ConfigError(f"'{target}' exists; give another name with -o, or delete it.")
    with open_slide(source, in_windows=False) as slide:
        output.run(pyramid_job(slide, target))
        hw = slide.hw
    output.result(
        {"slide": str(source), "pyramid": str(target), "hw": list(hw)},
        f"{target}: {hw[1]} x {hw[0]} px (width x height); annotations of '{source}' are not those of this copy, whose "
        "pixels differ slightly.",
    )


def _magnification(mpp: float) -> str:
    """Name the objective that a scale corresponds to: 10 µm per pixel at 1x."""
    for power in (80, 40, 20, 10, 5, 2.5):
        if abs(mpp * power / 10 - 1) < 0.2:
            return f" ({power:g}x)"
    return ""


SUBCOMMAND = Subcommand(
    "describe a whole-slide image (size, levels, scale, reader), or write a copy with coarse levels",
    "sampath slide info biopsy.svs",
    arguments,
    run,
)
