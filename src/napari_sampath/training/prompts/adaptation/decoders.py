"""The adapted mask decoder of a project or dataset, saved in its folder `decoders/`, beside its heads."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ....encoders.weights.weights import digest
from ....errors import WeightsError
from ....files import from_json, read_json, write_atomically
from ....files.tensor_file import DamagedFileError, dump_tensors, read_tensors

if TYPE_CHECKING:
    from ....predict import Model
    from .adapt import AdaptationResult

SCHEMA = 1
FOLDER, FILE = "decoders", "decoders.json"


@dataclass(frozen=True, slots=True)
class AdaptedDecoder:
    """Record of the adapted decoder of one model."""

    file: str
    """Name of the file with its weights."""
    model: str
    """Name of the model."""
    weights_digest: str
    """Digest of the weights that it was adapted from, those of the encoder and of the mask decoder."""
    clicks_before: float
    """Mean number of clicks per held-back object with the original decoder."""
    clicks_after: float
    """Mean number of clicks with the adapted decoder."""
    objects: int
    """Number of objects of the last round."""
    held_back: int
    """Number of objects that were measured on."""
    rounds: int = 1
    """Number of rounds that improved it."""
    on: bool = True
    """Whether it is used."""

    @property
    def text(self) -> str:
        """The gain in words, such as "adapted to this dataset: 3.1 -> 2.2 clicks per object"."""
        return (
            f"adapted to this dataset: {self.clicks_before:.1f} -> {self.clicks_after:.1f} clicks per object"
        )


@dataclass(frozen=True, slots=True)
class _Stored:
    """Content of `decoders.json`."""

    schema: int
    decoders: list[AdaptedDecoder]


def record_of(model: Model, result: AdaptationResult, rounds: int) -> AdaptedDecoder:
    """Return the record of the result of a round."""
    weights_digest = _weights_digest(model)
    return AdaptedDecoder(
        f"{model.name}-{weights_digest[:8]}-{rounds}.safetensors",
        model.name,
        weights_digest,
        round(result.original.clicks, 2),
        round(result.after.clicks, 2),
        result.objects,
        result.held_back,
        rounds,
    )


def _weights_digest(model: Model) -> str:
    decoder = model.decoder
    own = "" if decoder is None else digest(decoder.original.mask_decoder.state_dict())
    return hashlib.sha256(f"{model.encoder.weights_digest}{own}".encode()).hexdigest()[:32]


class AdaptedDecoders:
    """The adapted decoders of a project or dataset, at most one for each model and its weights.

    Every change is saved before the method returns; if this raises a `StorageError`, nothing has changed.

    Args:
        dataset: Folder of the project or dataset.

    Raises:
        WeightsError: If `decoders.json` is damaged or was written by a newer version.
    """

    def __init__(self, dataset: str | Path) -> None:
        self.folder = Path(dataset).expanduser() / FOLDER
        self._records = self._load()

    @property
    def records(self) -> tuple[AdaptedDecoder, ...]:
        """The records, sorted by model."""
        return tuple(sorted(self._records, key=lambda record: record.model))

    def find(self, model: Model) -> AdaptedDecoder | None:
        """Return the record for a model and its weights; None if there is none."""
        if not self._records:
            return None
        key = model.name, _weights_digest(model)
        return next(
            (record for record in self._records if (record.model, record.weights_digest) == key), None
        )

    def weights(self, record: AdaptedDecoder) -> dict[str, Tensor]:
        """Read the weights of a mask decoder, float32.

        Raises:
            WeightsError: If the file is missing or damaged.
        """
        path = self.folder / record.file
        try:
            tensors = read_tensors(path).tensors
        except (OSError, DamagedFileError) as error:
            raise WeightsError(
                f"The adapted decoder '{path}' cannot be read ({error}); restore it, or delete the folder "
                f"'{self.folder}' to adapt again."
            ) from error
        return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}

    def save(self, model: Model, result: AdaptationResult) -> AdaptedDecoder:
        """Save the result of a round as the decoder of a model, and use it."""
        before = self.find(model)
        record = record_of(model, result, 1 if before is None else before.rounds + 1)
        tensors = {
            key: (value.to(torch.float16) if value.is_floating_point() else value).contiguous()
            for key, value in result.weights.items()
        }
        content = dump_tensors(tensors, {"model": model.name})
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / record.file, lambda stream: stream.write(content))
        self._change(before, record)
        if before is not None:
            (self.folder / before.file).unlink(missing_ok=True)
        return record

    def switch(self, record: AdaptedDecoder, on: bool) -> AdaptedDecoder:
        """Use a decoder, or return to the original one; its weights are kept."""
        changed = replace(record, on=on)
        self._change(record, changed)
        return changed

    def apply(self, model: Model) -> AdaptedDecoder | None:
        """Let a model use its adapted decoder, or its original one if there is none or it is switched off.

        Returns:
            The record; None if there is none.
        """
        record = self.find(model)
        if model.decoder is not None:
            use = record is not None and record.on
            model.decoder = model.decoder.with_weights(self.weights(record) if use and record else None)
        return record

    def _change(self, before: AdaptedDecoder | None, after: AdaptedDecoder) -> None:
        records = [record for record in self._records if record != before] + [after]
        text = json.dumps({"schema": SCHEMA, "decoders": [asdict(record) for record in records]}, indent=1)
        write_atomically(self.folder / FILE, lambda stream: stream.write(text.encode()))
        self._records = records

    def _load(self) -> list[AdaptedDecoder]:
        file = self.folder / FILE
        try:
            content = from_json(_Stored, read_json(file))
            if content.schema != SCHEMA:
                raise ValueError(f"it has schema {content.schema}")
            for record in content.decoders:
                if PurePath(record.file).name != record.file or "\0" in record.file:
                    raise ValueError(f"'{record.file}' is not the name of a file")
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"'{file}' cannot be read ({error}); restore it from a backup, or delete it to adapt again."
            ) from error
        return content.decoders
