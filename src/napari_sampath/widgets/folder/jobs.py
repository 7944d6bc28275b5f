"""The jobs of the Folder dock: what takes long is imported and done here, in a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import SampathError
from ...jobs import Job, Progress
from ..background.native_libraries import import_triton_apart
from .thumbnails import SIDE_PX

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from ...arrays import ClassInfo, UInt8Array
    from ...images.loaded_image import LoadedImage
    from ...predict import Model
    from ...session import FolderQueue, FolderRun, ResultFilter


def queue_job(folder: Path, sessions_dir: Path | None) -> Job[FolderQueue]:
    """Open a folder of images.

    Args:
        folder: The folder.
        sessions_dir: Where the states of its images are kept; the user's folder if left out.
    """
    yield Progress(0, 0, "Opening the folder")
    from ...config import load_config
    from ...session import FolderQueue

    return FolderQueue(folder, sessions_dir or load_config().sessions_dir)


def picture_job(path: Path) -> Job[LoadedImage]:
    """Read an image file."""
    yield Progress(0, 0, f"Reading {path.name}")
    from ...images import read

    return read(path)


def thumbnails_job(paths: list[Path], into: dict[str, UInt8Array]) -> Job[int]:
    """Read images and make them small; one that cannot be read gets no picture.

    Args:
        paths: The files.
        into: Gets file name -> pixels (h, w, 3) uint8, one after the other.
    """
    from ...images import read

    for number, path in enumerate(paths):
        yield Progress(number, len(paths), "Looking through the folder", "images")
        try:
            pixels = read(path).pixels
        except SampathError:
            continue
        step = max(1, max(pixels.shape[:2]) // (2 * SIDE_PX))
        into[path.name] = np.ascontiguousarray(pixels[::step, ::step])
    yield Progress(len(paths), len(paths), "Looking through the folder", "images")
    return len(into)


def automatic_job(
    queue: FolderQueue,
    head: str,
    model: Model | None,
    sessions_dir: Path | None,
    result_filter: ResultFilter,
    leave: Collection[str],
    dataset: Path | None,
    classes: tuple[ClassInfo, ...],
) -> Job[FolderRun]:
    """Have a head propose on all images of a folder that are not done; see `session.automatic_job`.

    Args:
        queue: The folder.
        head: Name of a shipped bundle, or the path of one.
        model: The model in use; another is loaded where the head needs one.
        sessions_dir: Folder of the journals; the user's if left out.
        result_filter: The parts of each result to keep.
        leave: File names that are left alone.
        dataset: The dataset in use, whose classes a new image begins with.
        classes: Else those of the image that is open.
    """
    yield Progress(0, 0, "Loading the head")
    import_triton_apart()
    from ...config import load_config
    from ...heads import load_head
    from ...predict import load_model_job, segment_job
    from ...session import automatic_job as on_all
    from ...session import first_classes
    from ...store import Store

    loaded, settings = load_head(head), load_config()
    if model is None or model.name != loaded.encoder_name:
        model = yield from load_model_job(
            loaded.encoder_name, settings.device, store=Store.from_config(settings)
        )
    used = model

    def segment(pixels: UInt8Array) -> Job[Any]:
        return segment_job(pixels, loaded, used)

    folder = sessions_dir or settings.sessions_dir
    begin = first_classes(dataset, classes)
    return (yield from on_all(queue, segment, folder, result_filter, leave, begin))
