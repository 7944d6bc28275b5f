"""The run of the Auto-segment dock as a `sampath` command and as Python."""

from __future__ import annotations

from pathlib import Path

from ...annotations import Box
from ...session.proposals.result_filter import ResultFilter
from ..common.script_view import Script, command_line
from ..viewer.jobs import ModelChoice

NOTE = (
    "The command writes the class of each pixel before the filter; the Python program also filters the result "
    "and finds its objects."
)


def segment_script(
    file: Path,
    head: str,
    region: Box | None,
    tile_px: int | None,
    result_filter: ResultFilter,
    choice: ModelChoice | None,
) -> Script:
    """Describe a run of a head.

    Args:
        file: The image.
        head: Name of a shipped head, or path of a bundle.
        region: The region (r0, c0, r1, c1) in pixels; None for the whole image.
        tile_px: Side of the tiles in image pixels; None if it is that of the training images.
        result_filter: The filter of the result.
        choice: The model, if it has weights of the user; None for the published model of the head.
    """
    output = file.with_name(f"{file.stem}_segmentation.png").name
    flags: dict[str, object] = {"--head": head}
    model = ""
    if choice is not None and choice.weights is not None:
        flags |= {"--model": choice.name, "--weights": choice.weights}
        model = f", model=ns.load_model({choice.name!r}, weights={str(choice.weights)!r})"
    if region is not None:
        flags["--region"] = region
        model += f", region={tuple(region)}"
    if tile_px is not None:
        flags["--tile-px"] = tile_px
        model += f", tile_px={tile_px}"
    command = command_line("segment", (file,), {**flags, "--output": output})
    python = f"""import napari_sampath as ns
from napari_sampath.images import read
from napari_sampath.session import ResultFilter, from_segmentation

image = read({str(file)!r}).pixels
result = ns.segment(image, {head!r}{model})
objects = from_segmentation(result, {result_filter!r})
labels = objects.label_map()
"""
    return Script(command, python, NOTE)


def slide_script(
    file: Path,
    head: str,
    tile_px: int | None,
    outlines: bool = False,
    mpp: float | None = None,
    tissue: Path | None = None,
) -> Script:
    """Describe a run of a head on a whole slide.

    Args:
        file: The slide.
        head: Name of a shipped head, or path of a bundle.
        tile_px: Side of the tiles in level-0 pixels; None if it is that of the training images.
        outlines: Whether the model outlines each object.
        mpp: Micrometres per level-0 pixel, if others than the file states.
        tissue: File of the tissue mask, if a person has seen it; None if the tissue is found again.
    """
    output = f"{file.stem}.ome.zarr"
    flags: dict[str, object] = {"--head": head, "--output": output, "--objects": ()}
    chosen = ""
    if tile_px is not None:
        flags["--tile-px"] = tile_px
        chosen = f", tile_px={tile_px}"
    if outlines:
        flags["--outlines"] = ()
    settings = "outlines=True" if outlines else ""
    scale = ""
    if mpp is not None:
        flags["--mpp"] = mpp
        scale = f"\n    slide.mpp = {mpp!r}"
    find, note = "find_tissue(slide)", ""
    if tissue is not None:
        flags["--tissue"] = tissue
        find, note = (
            f"load_tissue(Path({str(tissue)!r}))",
            "The tissue mask that you saw is read from its file.",
        )
    command = command_line("segment", (file,), flags)
    python = f"""from pathlib import Path

from napari_sampath import load_head, load_model
from napari_sampath.images.slides import open_slide
from napari_sampath.images.slides.tissue import {find.partition("(")[0]}
from napari_sampath.jobs import run
from napari_sampath.predict.instances.settings import InstanceSettings
from napari_sampath.predict.whole_slide import slide_run_job

head = load_head({head!r})
with open_slide({str(file)!r}) as slide:{scale}
    model, tissue = load_model(head.encoder_name), {find}
    objects = InstanceSettings({settings})
    job = slide_run_job(slide, head, model, Path({output!r}), tissue, objects=objects{chosen})
    print(run(job))
"""
    return Script(command, python, note)
