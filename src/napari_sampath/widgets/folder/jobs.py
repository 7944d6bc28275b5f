"""Jobs of the Folder dock; slow imports happen in the worker thread."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import ClassInfo, UInt8Array
from ...config import load_config
from ...errors import SampathError
from ...images import LoadedImage, read
from ...jobs import Job, Progress
from ...session import FolderQueue, FolderRun, ResultFilter, automatic_job, first_classes, has_annotations
from ..background.native_libraries import import_triton_isolated
from .thumbnails import SIDE_PX

if TYPE_CHECKING:
    from ...predict import Model


def queue_job(folder: Path, sessions_dir: Path) -> Job[FolderQueue]:
    """Make a job that opens a folder of images, whose states are saved in `sessions_dir`."""
    yield Progress(0, 0, "Opening the folder")
    return FolderQueue(folder, sessions_dir)


def read_job(path: Path, sessions_dir: Path) -> Job[LoadedImage]:
    """Make a job that reads an image file; an image that an earlier version annotated unturned stays unturned."""
    yield Progress(0, 0, f"Reading {path.name}")
    image = read(path)
    if image.orientation > 1 and not has_annotations(image.pixels, sessions_dir):
        stored = image.before_turning()
        if has_annotations(stored.pixels, sessions_dir):
            return stored
    return image


def thumbnails_job(paths: list[Path], thumbnails: dict[str, UInt8Array]) -> Job[int]:
    """Make a job that reads images and scales them down; images that cannot be read are skipped.

    Args:
        paths: The image files.
        thumbnails: File name -> (h, w, 3) uint8, filled image by image.

    Returns:
        The job; its result is the number of thumbnails.
    """
    for number, path in enumerate(paths):
        yield Progress(number, len(paths), "Loading the thumbnails", "images")
        try:
            pixels = read(path).pixels
        except SampathError:
            continue
        step = max(1, max(pixels.shape[:2]) // (2 * SIDE_PX))
        thumbnails[path.name] = np.ascontiguousarray(pixels[::step, ::step])
    yield Progress(len(paths), len(paths), "Loading the thumbnails", "images")
    return len(thumbnails)


def segment_folder_job(
    queue: FolderQueue,
    head: str,
    model: Model | None,
    sessions_dir: Path,
    result_filter: ResultFilter,
    skip: Collection[str],
    dataset: Path | None,
    classes: tuple[ClassInfo, ...],
) -> Job[FolderRun]:
    """Make a job that segments all images of a folder that are not done, see `session.automatic_job`.

    Args:
        queue: The folder.
        head: Name of a shipped bundle, or path of a bundle.
        model: The model in use; another model is loaded if the head needs it.
        sessions_dir: Folder of the journals.
        result_filter: The parts of the results to keep.
        skip: File names of images to skip.
        dataset: Dataset with the initial classes of new images; None uses `classes`.
        classes: Initial classes of new images if the dataset has none.
    """
    yield Progress(0, 0, "Loading the head")
    import_triton_isolated()
    from ...heads import load_head
    from ...predict import load_model_job, segment_job
    from ...store import Store

    loaded, config = load_head(head), load_config()
    if model is None or model.name != loaded.encoder_name:
        model = yield from load_model_job(loaded.encoder_name, config.device, store=Store.from_config(config))
    encoder = model

    def segment(image: LoadedImage) -> Job[Any]:
        return segment_job(image.pixels, loaded, encoder, mpp=image.mpp)

    initial = first_classes(dataset, classes)
    return (yield from automatic_job(queue, segment, sessions_dir, result_filter, skip, initial))
