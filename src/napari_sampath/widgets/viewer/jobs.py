"""The jobs the docks start: what takes long is imported and done here, in a thread."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import ImageError, JournalError, SampathError
from ...jobs import Job, Progress
from ..background.native_libraries import import_triton_apart
from ..canvas.pixel_size import mpp_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Image

    from ...arrays import ClassInfo
    from ...predict import Model
    from ...session import NewObjects, Session


ATTEMPTS, PAUSE_S = 10, 0.1
"""How often a journal that is in use is asked for again."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What there is to choose from on this machine."""

    encoders: tuple[tuple[str, str], ...]
    """(name, summary) of those that answer prompts."""
    devices: tuple[str, ...]
    heads: tuple[str, ...]
    """Names of the shipped bundles."""


def catalogue_job() -> Job[Catalogue]:
    """List models, devices and heads; the first time this imports torch, which takes seconds."""
    yield Progress(0, 0, "Looking up the models")
    import_triton_apart()
    from ...config import resolve_device
    from ...encoders import registry
    from ...heads import list_bundles

    if not gc.get_freeze_count():
        # What is imported by now stays. To search all of it for garbage, as Python and napari do now and then, would
        # stop the window for half a second each time.
        gc.freeze()
    encoders = tuple(
        (name, registry[name].info.summary) for name in registry if registry[name].info.promptable
    )
    devices = ["auto"]
    for name in ("cuda", "mps", "cpu"):
        try:
            resolve_device(name)
        except SampathError:
            continue
        devices.append(name)
    return Catalogue(encoders, tuple(devices), tuple(list_bundles()))


def open_job(
    layer: Image,
    sessions_dir: Path | None = None,
    dataset: Path | None = None,
    classes: tuple[ClassInfo, ...] = (),
) -> Job[tuple[Session, str | None]]:
    """Make the session of an image layer, with what its journal holds.

    Args:
        layer: The layer; of a pyramid the finest level is used.
        sessions_dir: Folder of the journals; the user's if left out.
        dataset: The dataset in use, whose classes a new image begins with.
        classes: Else those of the image before it.

    Returns:
        The session, and a sentence on how the image was converted, if it was.
    """
    yield Progress(0, 0, "Reading the image")
    import_triton_apart()
    from ...config import load_config
    from ...images import to_loaded_image
    from ...session import Session, first_classes, journal_path

    if layer.ndim != 2:
        raise ImageError(
            f"'{layer.name}' has {layer.ndim} dimensions beside colour, an image to annotate has 2; split it into "
            "planes (right-click on the layer, Split Stack), or open it as RGB."
        )
    data: Any = layer.data[0] if layer.multiscale else layer.data
    picture = to_loaded_image(data, layer.name)
    yield Progress(0, 0, "Looking for earlier annotations of this image")
    journal = journal_path(picture.pixels, sessions_dir or load_config().sessions_dir)
    begin = first_classes(dataset, classes)
    for attempt in range(ATTEMPTS):
        try:
            session = Session(picture.pixels, picture.name, classes=begin, journal=journal)
            break
        except JournalError:
            # A head that goes through a folder holds each image's journal for a moment.
            if attempt == ATTEMPTS - 1:
                raise
        time.sleep(PAUSE_S)
        yield Progress(0, 0, "Waiting for the annotations of this image")
    session.files.mpp = mpp_of(layer)
    try:
        yield Progress(1, 1)
    except GeneratorExit:
        session.close()
        raise
    return session, picture.note


def model_job(name: str, device: str, weights: Path | None, keep: bool = True) -> Job[Model]:
    """Load a model, downloading its weights where that is needed.

    Args:
        name: Name of the encoder.
        device: "auto", or a device name.
        weights: A file of the user's own.
        keep: Keep features in the user's cache, so that they are never computed twice.
    """
    yield Progress(0, 0, f"Loading {name}")
    import_triton_apart()
    from ...config import load_config
    from ...predict import load_model_job
    from ...store import Store

    store = Store.from_config(load_config()) if keep else None
    model: Model = yield from load_model_job(name, device, weights, store)
    return model


def prepare_job(session: Session, centre_rc: tuple[float, float]) -> Job[int]:
    """Encode what is in view, told in the words of who looks on.

    Args:
        session: The session, with a model.
        centre_rc: (row, col) of the image pixel in the middle of the view.
    """
    job = session.prompts.encode_job(centre_rc)
    while True:
        try:
            progress = next(job)
        except StopIteration as stop:
            return int(stop.value)
        # One part of one says nothing: the bar just moves.
        total = progress.total if progress.total > 1 else 0
        yield Progress(progress.done, total, "Preparing the image for clicks", "parts")


def import_job(path: Path, name: str, hw: tuple[int, int]) -> Job[NewObjects]:
    """Read annotations from a file or folder; see `session.saving.read_job`."""
    yield Progress(0, 0, "Reading the annotations")
    from ...session.files.saving import read_job

    return (yield from read_job(path, name, hw))
