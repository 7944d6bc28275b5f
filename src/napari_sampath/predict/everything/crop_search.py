"""Search for masks in one crop of "segment everything"."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...arrays import GRID, LocalMask
from ...geometry import Frame
from ..decoder.point_windows import decode_windows, points_per_batch, supports_windows
from .crops import near_crop_edge
from .mask_filters import StabilityScreen, without_duplicates

if TYPE_CHECKING:
    from torch import Tensor

    from ...arrays import FloatArray
    from ..decoder.prompt_decoder import PromptDecoder
    from ..model import Model
    from .settings import EverythingSettings

_OUTSIDE_WINDOW = -10.0
"""Logit outside of the window of a prompt."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A mask that passed the filters, compressed because most candidates are dropped as duplicates."""

    row: int
    col: int
    hw: tuple[int, int]
    packed: bytes
    box: tuple[int, int, int, int]
    predicted_iou: float
    stability: float
    point_xy: tuple[float, float]
    crop: Frame
    area_px: int
    is_cut: bool
    """Whether the mask probably continues outside of its crop."""

    def local_mask(self) -> LocalMask:
        """Return the pixels."""
        height, width = self.hw
        packed = np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(height, -(-width // 8))
        bits = np.unpackbits(packed, axis=1, count=width).astype(np.bool_)
        return LocalMask(self.row, self.col, bits)


class CropSearch:
    """Search in one crop: encodes it, decodes points and boxes, and keeps the masks that pass the filters.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        hw: Size (H, W) of the image.
        frame: The crop.
        model: The model.
        decoder: Its decoder.
        settings: The settings.
    """

    def __init__(
        self,
        pixels: Any,
        hw: tuple[int, int],
        frame: Frame,
        model: Model,
        decoder: PromptDecoder,
        settings: EverythingSettings,
    ) -> None:
        self._hw, self._settings, self._decoder = hw, settings, decoder
        features = model.encode(pixels, frame)
        self._frame = features.frame
        self._embedding = features.maps["embedding"]
        self._tile = decoder.activate(self._embedding)
        self._screen = StabilityScreen(features.frame, decoder.logits_px, settings.stability_score_offset)
        self._candidates: list[Candidate] = []
        self._max_area_px = settings.max_area_share * frame.height * frame.width
        self.reads_windows = reads_windows(settings, decoder)
        self.batch = min(settings.points_per_batch, decoder.batch)
        """Number of prompts that are decoded at once."""
        self.window_batch = points_per_batch(settings.window_cells) if self.reads_windows else self.batch
        """Number of prompts that are decoded at once in windows."""

    def decode(self, points_xy: FloatArray) -> None:
        """Decode points (N, 2), (x, y) in image pixels, and keep the candidates that pass the filters."""
        xy = self._to_input(points_xy)
        labels = torch.ones(len(xy), 1, dtype=torch.int64, device=xy.device)
        attended = self._decoder.attend(self._tile, (xy[:, None], labels))
        chosen = self._is_good(attended.scores)
        self._keep(
            points_xy, self._decoder.logits(attended, chosen), attended.scores[chosen], chosen.nonzero()[:, 0]
        )

    def decode_boxes(self, boxes: FloatArray) -> None:
        """Decode boxes (N, 4), (x0, y0, x1, y1) in image pixels, and keep the best candidate of each if it passes.

        The decoder reads a window around boxes that fill at most half of it along each side, otherwise the whole crop.
        """
        sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
        scale = max(self._frame.input_hw) / max(self._frame.hw)
        small = np.full(len(boxes), self.reads_windows)
        small &= 2 * sides * scale <= self._settings.window_cells * self._decoder.input_px // GRID
        for start in range(0, int(small.sum()), self.window_batch):
            some = boxes[small][start : start + self.window_batch]
            self.decode_windows(_centres(some), some)
        for start in range(0, int((~small).sum()), self.batch):
            some = boxes[~small][start : start + self.batch]
            attended = self._decoder.attend(self._tile, boxes=self._boxes_to_input(some))
            chosen = self._is_good(attended.scores) & _is_best(attended.scores)
            logits = self._decoder.logits(attended, chosen)
            self._keep(_centres(some), logits, attended.scores[chosen], chosen.nonzero()[:, 0])

    def decode_windows(self, points_xy: FloatArray, boxes: FloatArray | None = None) -> None:
        """Like `decode`, but the decoder reads a window around each point, or around each box (N, 4) at a point."""
        side, full = self._settings.window_cells, self._decoder.logits_px
        prompts = None if boxes is None else self._boxes_to_input(boxes)
        found = decode_windows(self._decoder, self._embedding, self._to_input(points_xy), side, prompts)
        # Drop masks that a window cuts off.
        windows = [Frame(row, col, 4 * side, 4 * side) for row, col in found.origins_rc]
        inner = torch.stack([_inner_cells(window, full) for window in windows]).to(found.logits.device)
        cut = ((found.logits > 0) & ~inner[:, None]).any(dim=(2, 3))
        chosen = self._is_good(found.scores) & ~cut
        if boxes is not None:
            chosen &= _is_best(found.scores)
        owners = chosen.nonzero()[:, 0]
        logits = found.logits.new_full((len(owners), full, full), _OUTSIDE_WINDOW)
        for target, values, owner in zip(logits, found.logits[chosen], owners.tolist(), strict=True):
            target[windows[owner].slices] = values
        self._keep(points_xy, logits, found.scores[chosen], owners)

    def _to_input(self, points_xy: FloatArray) -> Tensor:
        xy = torch.as_tensor(self._frame.to_input(points_xy), dtype=torch.float32)
        return xy.to(self._decoder.position.device)

    def _boxes_to_input(self, boxes: FloatArray) -> Tensor:
        return self._to_input(boxes.reshape(-1, 2)).reshape(-1, 4)

    def _is_good(self, scores: Tensor) -> Tensor:
        """Return which candidates (B, M) have a sufficient predicted IoU."""
        if self._settings.pred_iou_thresh > 0:
            return scores > self._settings.pred_iou_thresh
        return torch.ones_like(scores, dtype=torch.bool)

    def _keep(self, points_xy: FloatArray, logits: Tensor, scores: Tensor, owners: Tensor) -> None:
        """Keep the candidates (K, 256, 256) of points (N, 2) that pass the filters."""
        threshold = self._settings.stability_score_thresh
        if threshold > 0:
            possible = self._screen.upper_bound(logits) >= threshold
            logits, scores, owners = logits[possible], scores[possible], owners[possible]
        for candidate, score, owner in zip(
            logits.cpu().numpy(), scores.tolist(), owners.tolist(), strict=True
        ):
            mask, stability = self._screen.measure(candidate)
            if threshold > 0 and not stability >= np.float32(threshold):
                continue
            area = mask.area_px
            if not self._settings.min_area_px <= area <= self._max_area_px:
                continue
            box = mask.inclusive_box
            is_cut = bool(near_crop_edge(box, self._frame, self._hw)[0])
            if is_cut and self._settings.max_covered == 1:
                continue
            x, y = points_xy[owner].tolist()
            bits = zlib.compress(np.packbits(mask.bitmap, axis=1).tobytes(), level=1)
            place = mask.row, mask.col, mask.bitmap.shape
            self._candidates.append(
                Candidate(*place, bits, box, score, float(stability), (x, y), self._frame, area, is_cut)
            )

    def results(self) -> list[Candidate]:
        """Return the candidates without duplicates, best predicted IoU first."""
        scores = torch.tensor(
            [candidate.predicted_iou for candidate in self._candidates], dtype=torch.float32
        )
        boxes = [candidate.box for candidate in self._candidates]
        kept = without_duplicates(boxes, scores, self._settings.box_nms_thresh)
        return [self._candidates[index] for index in kept]


def reads_windows(settings: EverythingSettings, decoder: PromptDecoder) -> bool:
    """Return whether the decoder reads windows around prompts."""
    return settings.window_cells > 0 and supports_windows(decoder)


def _centres(boxes: FloatArray) -> FloatArray:
    """Return the centres (N, 2) of boxes (N, 4)."""
    centres: FloatArray = (boxes[:, :2] + boxes[:, 2:]) / 2
    return centres


def _is_best(scores: Tensor) -> Tensor:
    """Return which candidates (B, M) have the highest predicted IoU of their prompt."""
    return torch.arange(scores.shape[1], device=scores.device) == scores.argmax(dim=1, keepdim=True)


def _inner_cells(window: Frame, full: int) -> Tensor:
    """Return the cells (h, w) of a window that are not at an edge inside the tile, whose logits are (full, full)."""
    inner = torch.ones(window.hw, dtype=torch.bool)
    for cells, first, size in ((inner, window.top, window.height), (inner.T, window.left, window.width)):
        cells[: int(first > 0)] = False
        cells[size - int(first + size < full) :] = False
    return inner
