"""Loading of models by name; missing weights are downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..config import resolve_device
from ..encoders import registry
from ..encoders.text.projection_file import add_projection
from ..jobs import Job, Progress, run
from .model import Model

if TYPE_CHECKING:
    from ..encoders.remote import RemoteEncoder
    from ..store import Store


def load_model_job(
    name: str = "sampath-tiny",
    device: str = "auto",
    weights: str | Path | None = None,
    store: Store | None = None,
    precision: str = "auto",
    compiled: bool = False,
    server: RemoteEncoder | None = None,
) -> Job[Model]:
    """Make a job that loads a model and reports the download of its weights; see `load_model`.

    With a server, its encoder computes the features, in its precision.
    """
    entry = registry[name]
    target = resolve_device(device)
    path = None if weights is None else Path(weights).expanduser()
    if entry.fetch is not None:
        path = yield from entry.fetch(path)
    yield Progress(0, 0, f"Loading {name}", "")
    parts = add_projection(entry.build(path), path)
    if server is None:
        return Model(parts, target, store, precision, compiled)
    model = Model(parts, target, store, server.info.precision, compiled)
    model.tiles.use_server(server)
    return model


def load_model(
    name: str = "sampath-tiny",
    device: str = "auto",
    weights: str | Path | None = None,
    store: Store | None = None,
    precision: str = "auto",
    compiled: bool = False,
) -> Model:
    """Load an encoder with its prompt decoder, if it has one.

    Args:
        name: One of `list_encoders()`.
        device: "auto", or a torch device name.
        weights: A weights file, or a folder with the official file; the official or shipped weights if left out.
        store: Store for features; none if left out.
        precision: Precision of the encoder: "auto", "float32", "bfloat16" or "float16".
        compiled: Compile the encoder with `torch.compile` on the first run, which takes minutes once.

    Returns:
        The model.

    Raises:
        UnknownNameError: If there is no such encoder.
        ConfigError: If the device or precision is not available.
        WeightsMissingError: If the weights can neither be found nor downloaded.
        WeightsError: If the file is unreadable, truncated, or made for another model.
    """
    return run(load_model_job(name, device, weights, store, precision, compiled))
