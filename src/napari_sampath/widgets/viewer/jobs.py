"""Background jobs of the viewer state; slow imports are done inside the jobs."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils.notifications import show_warning

from ...arrays import ClassInfo
from ...errors import ConfigError, ImageError, JournalError, SampathError
from ...jobs import Job, Progress
from ..background.native_libraries import import_triton_isolated
from ..canvas.pixel_size import mpp_of
from ..canvas.shown_image import ORIENTATION
from ..canvas.slide_layer import slide_of

if TYPE_CHECKING:
    from ...arrays import UInt8Array
    from ...encoders.base import EncoderEntry
    from ...formats import ImportChoiceError, ReadOptions
    from ...images import LayerImage
    from ...images.slides import Slide
    from ...predict import Model
    from ...session import NewObjects, Session
    from ...training.rounds.head_cards import HeadCard

ATTEMPTS, PAUSE_S = 10, 0.1
"""Number of attempts to open a journal that is in use, and the pause between attempts in seconds."""


MAX_SLIDE_PX = 2**26
"""Largest slide that is read into memory as an image, in pixels; of larger ones, windows are read."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models, devices and heads that are available on this machine."""

    encoders: tuple[tuple[str, str], ...]
    """(name, description: what it is for, size, licence, and whether it is on this machine) of each promptable
    encoder."""
    devices: tuple[str, ...]
    """Names of the devices, and the address of a server."""
    heads: tuple[str, ...]
    """Names of the heads that are shipped with the package."""
    cards: tuple[HeadCard, ...] = ()
    """Cards of these heads."""
    downloads: Mapping[str, str] = field(default_factory=dict)
    """Name of each encoder that was not on this machine -> its size and licence."""

    def download(self, encoder: str) -> str:
        """Return size and licence of an encoder that is downloaded when it is used; "" if it is on this machine."""
        if encoder not in self.downloads:
            return ""
        from ...encoders import registry

        return "" if registry[encoder].is_downloaded() else self.downloads[encoder]


@dataclass(frozen=True, slots=True, eq=False)
class OpenedImage:
    """The session of an image layer."""

    session: Session
    note: str | None
    """Sentence that describes how the image was converted; None if it was not."""
    is_shown: bool
    """Whether the layer shows the image of the session."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model chosen by the user."""

    name: str = "sampath-tiny"
    device: str = "auto"
    weights: Path | None = None
    """Custom weights file; None for the default weights."""

    @property
    def local_device(self) -> str:
        """The device of this machine; "auto" if a server is chosen."""
        return "auto" if self.device.startswith("http") else self.device


def catalogue_job() -> Job[Catalogue]:
    """List models, devices and heads; the first call imports torch, which takes several seconds."""
    yield Progress(0, 0, "Looking up the models")
    import_triton_isolated()
    from ...config import load_config, resolve_device
    from ...encoders import registry
    from ...heads import list_bundles
    from ...training.rounds.head_cards import head_card

    entries = [registry[name] for name in registry if registry[name].info.promptable]
    encoders = tuple((entry.info.name, _describe(entry)) for entry in entries)
    downloads = {
        entry.info.name: f"{entry.info.size_mb:,.0f} MB, licence {entry.info.licence or 'not stated'}"
        for entry in (registry[name] for name in registry)
        if entry.file and not entry.is_downloaded()
    }
    devices = ["auto"]
    for name in ("cuda", "mps", "cpu"):
        try:
            resolve_device(name)
        except SampathError:
            continue
        devices.append(name)
    if load_config().server:
        devices.append(load_config().server)
    heads = tuple(list_bundles())
    return Catalogue(encoders, tuple(devices), heads, tuple(map(head_card, heads)), downloads)


def _describe(entry: EncoderEntry) -> str:
    info = entry.info
    size = f" {info.size_mb:,.0f} MB." if info.size_mb else ""
    here = "Not on this machine." if entry.file and not entry.is_downloaded() else "On this machine."
    return (
        f"{info.summary}{size} Licence: {info.licence or 'not stated'}. {here if entry.file else ''}".strip()
    )


def open_job(
    layer: Image,
    sessions_dir: Path,
    dataset: Path | None = None,
    classes: tuple[ClassInfo, ...] = (),
    opened: Mapping[str, str] | None = None,
) -> Job[OpenedImage]:
    """Open the session of an image layer and replay its journal.

    Args:
        layer: The layer; the finest level of a pyramid is used.
        sessions_dir: Folder of the journals.
        dataset: The current dataset; a new image starts with its classes.
        classes: Initial classes of a new image if there is no dataset.
        opened: `Session.digest` -> name of the layer, of the images of this viewer that are open.

    Returns:
        The session, a sentence that describes how the image was converted, and whether the layer shows the image.

    Raises:
        ImageError: If the layer is not two-dimensional and not an RGB image, or shows an image that is open.
        JournalError: If another process keeps the journal open.
    """
    yield Progress(0, 0, "Reading the image")
    import_triton_isolated()
    from ...session import Session, first_classes, journal_path
    from ...session.journals import journal_file, stated_mpp

    source = _large_slide(layer) or _image_of(layer, sessions_dir)
    yield Progress(0, 0, "Looking for earlier annotations of this image")
    journal = journal_path(source.pixels, sessions_dir)
    for digest, name in (opened or {}).items():
        if journal == journal_file(digest, sessions_dir):
            raise ImageError(
                f"'{layer.name}' has the same pixels as the layer '{name}'; use that layer, or remove it first."
            )
    first = first_classes(dataset, classes)
    for attempt in range(ATTEMPTS):
        try:
            session = Session(source.pixels, _name_of(layer), classes=first, journal=journal)
            break
        except JournalError:
            # Segmenting a folder briefly opens the journal of each image.
            if attempt == ATTEMPTS - 1:
                raise
        time.sleep(PAUSE_S)
        yield Progress(0, 0, "Waiting for the annotations of this image")
    session.files.use_mpp(source.mpp or stated_mpp(journal))
    session.files.orientation = layer.metadata.get(ORIENTATION, source.orientation)
    try:
        yield Progress(1, 1)
    except GeneratorExit:
        session.close()
        raise
    slide = slide_of(layer)
    notes = [None if slide is None else slide.note, source.note, *session.notes]
    note = " ".join(filter(None, notes)) or None
    return OpenedImage(session, note, source.is_shown)


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """The pixels for which a session is opened, and what is known about them."""

    pixels: UInt8Array | Slide
    mpp: float | None
    orientation: int = 1
    note: str | None = None
    is_shown: bool = True


def _large_slide(layer: Image) -> _Source | None:
    """Return the slide of a layer that is too large to be read into memory; None for other layers."""
    slide = slide_of(layer)
    if (
        slide is None
        and layer.multiscale
        and layer.ndim == 2
        and _size_px(layer.data[0].shape) > MAX_SLIDE_PX
    ):
        from ...images.slides import open_levels

        slide = open_levels(list(layer.data), str(layer.name), mpp_of(layer), _file_of(layer))
    if slide is None or _size_px(slide.hw) <= MAX_SLIDE_PX:
        return None
    return _Source(slide, slide.mpp)


def _size_px(shape: tuple[int, ...]) -> int:
    return int(shape[0]) * int(shape[1])


def _image_of(layer: Image, sessions_dir: Path) -> _Source:
    """Read the image of a layer into memory."""
    from ...images import read_layer

    slide = slide_of(layer)
    file = None if slide else _file_of(layer)
    pixels = slide[:] if slide is not None else layer.data[0] if layer.multiscale else layer.data
    read = read_layer(pixels, layer.name, file, bool(layer.rgb), mpp_of(layer))
    if not read.is_shown:
        read = _annotated_before(pixels, layer, read, sessions_dir)
    image = read.image
    return _Source(image.pixels, image.mpp, image.orientation, image.note, read.is_shown)


def _annotated_before(data: Any, layer: Image, layer_image: LayerImage, sessions_dir: Path) -> LayerImage:
    """Return the image as napari shows it if an earlier version annotated it, otherwise the image of the layer."""
    from ...images import LayerImage, to_loaded_image
    from ...session import has_annotations

    if layer.ndim != 2 or has_annotations(layer_image.image.pixels, sessions_dir):
        return layer_image
    try:
        shown = to_loaded_image(data, layer.name, mpp=layer_image.image.mpp)
    except ImageError:
        return layer_image
    if not has_annotations(shown.pixels, sessions_dir):
        return layer_image
    note = (
        f"'{layer.name}' is read as napari shows it, without applying the tags of its file, because it was annotated "
        "in an earlier version, which ignored the tags."
    )
    return LayerImage(dataclasses.replace(shown, note=note), is_shown=True)


def _name_of(layer: Image) -> str:
    """Return the name of the image: that of its file without the number that napari adds to a second layer."""
    file = _file_of(layer)
    added = "" if file is None else str(layer.name).removeprefix(file.stem)
    return file.stem if file is not None and re.fullmatch(r" \[\d+\]", added) else str(layer.name)


def _file_of(layer: Image) -> Path | None:
    """Return the file that a layer was opened from; None if it has another origin."""
    path = layer.source.path
    return Path(path) if isinstance(path, str | Path) and layer.source.parent is None else None


def model_job(name: str, device: str, weights: Path | None, keep: bool = True) -> Job[Model]:
    """Load a model, downloading its weights if necessary.

    Args:
        name: Name of the encoder.
        device: "auto", a device name, or the address of a server that computes the features.
        weights: Custom weights file; None for the default weights.
        keep: Whether to cache features on disk.

    Raises:
        ConfigError: If the server cannot be used; see `load_model` for other errors.
    """
    yield Progress(0, 0, f"Loading {name}")
    import_triton_isolated()
    from ...config import load_config
    from ...predict import load_model_job
    from ...store import Store

    config, server = load_config(), None
    store = Store.from_config(config) if keep else None
    if device.startswith("http"):
        from ...encoders.remote import connect

        if not config.server_token_file:
            raise ConfigError(
                "SAMPATH_SERVER is set without SAMPATH_SERVER_TOKEN_FILE; set it to the token file of the server, and "
                "start napari again."
            )
        yield Progress(0, 0, f"Connecting to {device}")
        ca = Path(config.server_ca) if config.server_ca else None
        server, device = connect(device, Path(config.server_token_file), ca), config.device
        server.on_failure = show_warning
    model: Model = yield from load_model_job(name, device, weights, store, server=server)
    return model


def prepare_job(session: Session, centre_rc: tuple[float, float]) -> Job[int]:
    """Encode the image of a session, starting with the region around (row, col) in image pixels."""
    job = session.prompts.encode_job(centre_rc)
    while True:
        try:
            progress = next(job)
        except StopIteration as stop:
            return int(stop.value)
        # "1 of 1" is not informative, so show an indeterminate bar.
        total = progress.total if progress.total > 1 else 0
        yield Progress(progress.done, total, "Preparing the image for clicks", "parts")


def import_job(session: Session, path: Path, options: ReadOptions) -> Job[NewObjects | ImportChoiceError]:
    """Read annotations from a file or folder; see `session.files.importing.read_job`.

    Returns:
        The objects, or the question that the user has to answer first.
    """
    yield Progress(0, 0, "Reading the annotations")
    from ...formats import ImportChoiceError

    try:
        return (yield from session.files.read_job(path, options))
    except ImportChoiceError as error:
        return error
