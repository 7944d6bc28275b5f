"""The model: an encoder with its prompt decoder, on one device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ..arrays import (
    IMAGE,
    BoolArray,
    FeatureMap,
    Features,
    FeatureSpec,
    FloatArray,
    LocalMask,
    Masks,
    Prompts,
)
from ..config import resolve_precision
from ..encoders import EncoderParts, registry
from ..errors import PromptError
from ..geometry import INPUT_PX, Frame, whole
from ..images import MIN_SIDE_PX, to_loaded_image
from ..jobs import Job, Progress
from .decoder.large_objects import is_single_point, refine_if_large
from .decoder.mask_upscaling import full_masks, local_mask, mask_to_logits
from .decoder.prompt_decoder import PromptDecoder
from .encoding import TileEncoder, read_window, window_frame
from .threads import prompt_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor

    from ..store import Store


class Model:
    """An encoder with its prompt decoder; it stores no image, so any number of images can share it.

    Args:
        parts: The encoder, with SAM's prompt encoder and mask decoder if it has them.
        device: Device of the encoder and the decoder.
        store: Store in which features are looked up and saved.
        precision: Precision of the encoder: "auto" or one of `config.PRECISIONS`; see `resolve_precision`.
            Prompts are always answered in float32.
        compiled: Compile the encoder with `torch.compile` on the first run.

    Raises:
        ConfigError: If there is no such precision.
    """

    def __init__(
        self,
        parts: EncoderParts,
        device: torch.device | None = None,
        store: Store | None = None,
        precision: str = "float32",
        compiled: bool = False,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.precision = resolve_precision(precision, self.device)
        self.encoder = parts.encoder.eval().requires_grad_(False).to(self.device)
        self.decoder: PromptDecoder | None = None
        if parts.prompt_encoder is not None and parts.mask_decoder is not None:
            decoder = PromptDecoder(parts.prompt_encoder, parts.mask_decoder)
            self.decoder = decoder.eval().requires_grad_(False).to(self.device)
        self.text_projection = parts.text_projection
        if self.text_projection is not None:
            self.text_projection.eval().requires_grad_(False).to(self.device)
        self.store = store
        self.tiles = TileEncoder(self.encoder, self.device, self.precision, compiled)

    @property
    def name(self) -> str:
        """Name of the encoder."""
        return self.encoder.info.name

    @property
    def promptable(self) -> bool:
        """True if the model answers prompts."""
        return self.decoder is not None

    @property
    def input_px(self) -> int:
        """Side of the square input, in pixels."""
        return INPUT_PX if self.decoder is None else self.decoder.input_px

    @property
    def maps(self) -> tuple[FeatureMap, ...]:
        """The maps that `encode` computes."""
        return self.encoder.spec.maps

    def encode(self, image: Any, frame: Frame | None = None, keep: bool = True) -> Features:
        """Return the features of one tile, from the store or computed.

        Args:
            image: (H, W, 3) uint8 RGB, the whole image; other arrays are converted like image files.
            frame: The tile; the whole image if left out.
            keep: Whether to use the store; False for images that will not be opened again.

        Returns:
            The features, float32, on the model's device.

        Raises:
            ImageError: If the array is not an image.
            ConfigError: If the device has too little memory.
        """
        pixels = as_pixels(image)
        frame = frame or whole((pixels.shape[0], pixels.shape[1]), self.input_px)
        (features,) = self.tiles.encode(pixels, [frame], self.store if keep else None)
        return features

    def read(self, image: Any, frame: Frame, spec: FeatureSpec) -> Features:
        """Return the maps that a head reads for one tile; see `read_tiles`."""
        (features,) = self.read_tiles(image, [frame], spec)
        return features

    def read_tiles(
        self, image: Any, frames: Iterable[Frame], spec: FeatureSpec, in_memory: bool = True
    ) -> Iterator[Features]:
        """Yield the maps that a head reads for each tile: those of the encoder, and the input image if needed.

        The encoder does not run for heads that read only the image.

        Args:
            image: (H, W, 3) uint8 RGB, the whole image; other arrays are converted like image files.
            frames: The tiles.
            spec: Feature specification of the head.
            in_memory: As for `encode_tiles`.
        """
        pixels = as_pixels(image)
        names = [feature_map.name for feature_map in spec.maps]
        encoded: Iterable[Features] = (
            self.encode_tiles(pixels, frames, in_memory=in_memory)
            if names != [IMAGE]
            else (Features({}, self.encoder.adapt_frame(frame), self.name) for frame in frames)
        )
        for features in encoded:
            yield self.with_image(features, pixels) if IMAGE in names else features

    def with_image(self, features: Features, image: Any) -> Features:
        """Return the features of a tile with the input image as a further map."""
        window = read_window(image, features.frame)
        pixels = self.encoder.preprocess(window, window_frame(window, features.frame))
        return Features({**features.maps, IMAGE: pixels}, features.frame, self.name)

    def encode_tiles(
        self, image: Any, frames: Iterable[Frame], batch: int | None = None, in_memory: bool = True
    ) -> Iterator[Features]:
        """Yield the features of several tiles in the given order, from the store or computed.

        Args:
            image: As for `encode`.
            frames: The tiles.
            batch: Tiles per batch, if they fit in memory; chosen for the device if left out.
            in_memory: Whether the store also keeps the features in memory; False if they are too many to be read again
                soon.

        Raises:
            ImageError: If the array is not an image.
            ConfigError: If the device has too little memory.
        """
        store = self.store if in_memory or self.store is None else self.store.on_disk()
        return self.tiles.encode(as_pixels(image), frames, store, batch)

    def encode_job(
        self, image: Any, frames: Sequence[Frame], batch: int | None = None
    ) -> Job[list[Features]]:
        """Make a job that returns the features of several tiles; it can be cancelled between batches."""
        encoded: list[Features] = []
        yield Progress(0, len(frames), "Encoding the image", "tiles")
        for features in self.encode_tiles(image, frames, batch):
            encoded.append(features)
            yield Progress(len(encoded), len(frames), "Encoding the image", "tiles")
        return encoded

    def decode(
        self, features: Features, prompts: Prompts, multimask: bool | None = True
    ) -> tuple[FloatArray, FloatArray]:
        """Answer prompts on one tile; `sampath-tiny` answers a point in a large object twice, see `refine_if_large`.

        Args:
            features: The tile.
            prompts: Points, a box or a mask, or several of these, in image pixels (x, y).
            multimask: True for three candidates, False for a single mask, None for all four, the single mask first.

        Returns:
            (M, 256, 256) float32 logits and (M,) float32 predicted IoU, in SAM's order.

        Raises:
            PromptError: If a prompt lies outside the tile, or the model has no prompt decoder.
        """
        decoder, share = self._decoder(), self.encoder.info.redecode_share
        with prompt_threads(self.device):
            answer = decoder.decode(features, prompts, multimask)
            if share is None or not multimask or not is_single_point(prompts):
                return answer
            return refine_if_large(
                answer, prompts, features.frame, share, lambda boxed: decoder.decode(features, boxed)
            )

    def predict(
        self,
        features: Features,
        points: Sequence[Sequence[float]] | npt.ArrayLike | None = None,
        labels: Sequence[int] | npt.ArrayLike | None = None,
        box: Sequence[float] | npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        multimask: bool = True,
        text: npt.ArrayLike | None = None,
    ) -> Masks:
        """Predict masks at image resolution; with SAM's weights, they equal those of `segment_anything.SamPredictor`.

        Args:
            features: The features of `encode`.
            points: (N, 2) points (x, y) in image pixels.
            labels: (N,) 1 for positive and 0 for negative points; all positive if left out.
            box: (x0, y0, x1, y1) in image pixels.
            mask: (256, 256) logits of a previous prediction, or a painted mask (H, W) bool of the whole image.
            multimask: True for three candidates, False for a single mask.
            text: (256,) prompt of `text_prompt`.

        Returns:
            The candidates, of the size of the window that the features cover.

        Raises:
            PromptError: If there is no prompt, or one is malformed or outside the tile.
        """
        if mask is not None and np.asarray(mask).dtype == np.bool_:
            mask = mask_to_logits(np.asarray(mask), features.frame)
        logits, scores = self.decode(features, Prompts.make(points, labels, box, mask, text), multimask)
        with prompt_threads(torch.device("cpu")):
            full = full_masks(features.frame, logits)
        return Masks(full, scores, logits)

    def predict_boxes(
        self, features: Features, boxes: npt.ArrayLike, multimask: bool = False
    ) -> list[tuple[LocalMask, float]]:
        """Predict a mask for each of many boxes on one tile.

        Args:
            features: The tile.
            boxes: (N, 4) boxes (x0, y0, x1, y1) in image pixels.
            multimask: Use the best of three candidates instead of SAM's single mask.

        Returns:
            The mask and predicted IoU of each box.

        Raises:
            PromptError: If a box is malformed or outside the tile.
        """
        decoded = self._decode_boxes(features, boxes, multimask)
        return [(local_mask(features.frame, logits), score) for logits, score in decoded]

    def decode_boxes(
        self, features: Features, boxes: Sequence[Sequence[float]] | npt.ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """Predict the logits of SAM's single mask for each of (N, 4) boxes; see `predict_boxes`.

        Returns:
            (N, 256, 256) float32 logits and (N,) float32 predicted IoU.
        """
        decoded = list(self._decode_boxes(features, boxes, multimask=False))
        if not decoded:
            raise PromptError("There is no box; give at least one as (x0, y0, x1, y1).")
        logits, scores = zip(*decoded, strict=True)
        return np.stack(logits), np.array(scores, dtype=np.float32)

    def _decode_boxes(
        self, features: Features, boxes: npt.ArrayLike, multimask: bool
    ) -> Iterator[tuple[FloatArray, float]]:
        rows = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        checked = [Prompts.make(box=box).box_xyxy for box in rows]
        corners = [box.reshape(2, 2) for box in checked if box is not None]
        if corners:
            xyxy = self._decoder().to_input(np.concatenate(corners), features.frame).reshape(-1, 4)
            yield from self._decode_each(features, xyxy, lambda batch: {"boxes": batch}, multimask)

    def predict_points(
        self, features: Features, points: npt.ArrayLike, multimask: bool = True
    ) -> list[tuple[LocalMask, float]]:
        """Predict a mask for each of many points on one tile.

        Args:
            features: The tile.
            points: (N, 2) positive points (x, y) in image pixels.
            multimask: Use the best of three candidates instead of SAM's single mask.

        Returns:
            The mask and predicted IoU of each point.

        Raises:
            PromptError: If a point is malformed or outside the tile.
        """
        if np.size(points) == 0:
            return []
        xy = self._decoder().to_input(Prompts.make(points).points_xy, features.frame)

        def prompt(batch: Tensor) -> dict[str, Any]:
            labels = torch.ones(len(batch), 1, dtype=torch.int64, device=batch.device)
            return {"points": (batch[:, None], labels)}

        decoded = self._decode_each(features, xy, prompt, multimask)
        return [(local_mask(features.frame, logits), score) for logits, score in decoded]

    def _decode_each(
        self, features: Features, rows: Tensor, prompt: Callable[[Tensor], dict[str, Any]], multimask: bool
    ) -> Iterator[tuple[FloatArray, float]]:
        """Answer N prompts (rows) in batches, and upscale only the best candidate of each."""
        decoder = self._decoder()
        active = decoder.activate(features.maps["embedding"])
        for batch in rows.split(decoder.batch):
            attended = decoder.attend(active, **prompt(batch), multimask=multimask)
            best, index = attended.scores.max(dim=1, keepdim=True)
            chosen = torch.zeros_like(attended.scores, dtype=torch.bool).scatter_(1, index, True)
            logits = decoder.logits(attended, chosen).cpu().numpy()
            yield from zip(logits, best.flatten().tolist(), strict=True)

    def mask_to_logits(self, mask: BoolArray | LocalMask, frame: Frame) -> FloatArray:
        """Convert a painted mask to the logits of a mask prompt; see `predict.mask_to_logits`."""
        return mask_to_logits(mask, frame)

    def _decoder(self) -> PromptDecoder:
        if self.decoder is None:
            promptable = [name for name in registry if registry[name].info.promptable]
            raise PromptError(
                f"The encoder '{self.name}' answers no prompts; choose one of: {', '.join(promptable)}."
            )
        return self.decoder


def as_pixels(image: Any) -> Any:
    """Return arrays (H, W, 3) uint8 of any type unchanged, and convert other images to them.

    Raises:
        ImageError: If it is not an image.
    """
    shape: tuple[int, ...] = getattr(image, "shape", ())
    is_rgb = getattr(image, "dtype", None) == np.uint8 and len(shape) == 3 and shape[2] == 3
    if is_rgb and min(shape[:2]) >= MIN_SIDE_PX:
        return image
    return to_loaded_image(image).pixels
