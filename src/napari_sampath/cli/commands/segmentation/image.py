"""`sampath segment` for an image in memory: a label map."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ....errors import StorageError
from ....files.messages import plural
from ....predict.instances.label_map import number_map
from ...output import Output, table
from ...subcommand import check_suffix, raster_writer
from ..everything import instance_map_writer
from .loading import HeadAndModel, instance_settings
from .slide import open_small_image, reject_slide_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ....arrays import ClassInfo, UInt8Array
    from ....predict import Segmentation
    from ....predict.instances.resolve_outlines import Instance


def run_image(args: argparse.Namespace, output: Output, loaded: HeadAndModel) -> int:
    """Segment an image and write all requested files, or none if one fails; returns the exit code."""
    from ....annotations import pixel_digest
    from ....formats.manifest import write_label_map
    from ....predict import segment_job, separate_touching_job
    from ....predict.foreign.compare import check_image
    from ....predict.instances.instances import check_promptable

    reject_slide_flags(args)
    suffix = _check_outputs(args)
    settings = instance_settings(args)
    head = loaded.head
    image = open_small_image(args.image, output)
    model = loaded.model
    if settings is not None and settings.outlines is not False:
        check_promptable(model)
    region = None if args.region is None else tuple(args.region)
    warning = check_image(image.pixels, head, region, image.mpp, args.tile_px)
    output.note(warning)
    job = segment_job(image.pixels, head, model, region, mpp=image.mpp, tile_px=args.tile_px)
    result = _in_image(output.run(job), image.pixels.shape[:2])
    values: dict[str, object] = {
        **{"labels": str(args.output), "head": head.name, "model": model.name},
        **{"tile_px": result.tile_px, "warning": result.warning},
    }
    if settings is None:
        labels_writer = raster_writer(result.labels, suffix, _palette(result.classes))
        shares = _shares(result.labels, result.classes)
        values["classes"] = shares
        rows = [[str(row["id"]), str(row["name"]), f"{row['share']:.1%}"] for row in shares]
        text = f"\n{table(['ID', 'CLASS', 'SHARE'], rows)}"
    else:
        instances = output.run(separate_touching_job(result, image.pixels, model, settings))
        instances.sort(key=lambda instance: -instance.score)
        ids = number_map([instance.mask for instance in instances], result.labels.shape)
        labels_writer = instance_map_writer(args.output, suffix, ids)
        values["objects"] = _objects(instances, result.classes)
        text = f" {plural(len(instances), 'object')}"
    files = {args.output: labels_writer}
    if args.confidence is not None:
        files[args.confidence] = raster_writer(result.confidence, ".tif")
        values["confidence"] = str(args.confidence)
    note = write_label_map(
        files,
        args.output,
        "classes" if settings is None else "instances",
        image.name,
        result.labels.shape,
        [info for info in result.classes if info.id],
        pixel_digest(image.pixels),
    )
    output.note(note)
    output.note(result.warning if result.warning != warning else None)
    output.result(values, f"{args.output}:{text}")
    return 0


def _check_outputs(args: argparse.Namespace) -> str:
    """Check the endings of the files to write, and return that of the labels."""
    suffix = check_suffix(args.output, ".png", ".tif", ".tiff")
    if args.confidence is not None:
        check_suffix(args.confidence, ".tif", ".tiff")
        if os.path.realpath(args.confidence) == os.path.realpath(args.output):
            raise StorageError(
                f"--output and --confidence are both '{args.output}'; give two different files."
            )
    return suffix


def _in_image(result: Segmentation, hw: tuple[int, ...]) -> Segmentation:
    """Place the result of a region in maps of the size of the image (H, W), which are 0 outside."""
    rows, cols = result.labels.shape
    if (rows, cols) == tuple(hw):
        return result
    row, col = result.origin_rc
    part = np.s_[row : row + rows, col : col + cols]
    labels, confidence = np.zeros(hw, result.labels.dtype), np.zeros(hw, result.confidence.dtype)
    labels[part], confidence[part] = result.labels, result.confidence
    return replace(result, labels=labels, confidence=confidence, probabilities=None, origin_rc=(0, 0))


def _objects(instances: Sequence[Instance], classes: Sequence[ClassInfo]) -> list[dict[str, object]]:
    """Return the properties of objects, in the order of their ids."""
    names = {info.id: info.name for info in classes}
    return [
        {
            "id": number,
            "class": names[instance.class_id],
            "area_px": instance.area_px,
            "score": instance.score,
            "predicted_iou": instance.predicted_iou,
            "bbox_xywh": instance.bbox_xywh,
        }
        for number, instance in enumerate(instances, start=1)
    ]


def _shares(labels: UInt8Array, classes: Sequence[ClassInfo]) -> list[dict[str, object]]:
    """Return the fraction of the pixels, 0 to 1, of each class."""
    counts = np.bincount(labels.ravel(), minlength=256)
    return [
        {"id": info.id, "name": info.name, "share": float(counts[info.id] / labels.size)} for info in classes
    ]


def _palette(classes: Sequence[ClassInfo]) -> bytes:
    """Return the class colours as the palette of an indexed PNG."""
    palette = bytearray(3 * 256)
    for info in classes:
        palette[3 * info.id : 3 * info.id + 3] = bytes(info.color)
    return bytes(palette)
