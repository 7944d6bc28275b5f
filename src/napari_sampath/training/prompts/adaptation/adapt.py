"""One round of adaptation: train a copy of the mask decoder on examples, and measure it on the held-back ones.

Only the mask decoder changes, so cached features and heads stay valid (Schoen et al. 2024, "Adapting the Segment
Anything Model During Usage in Novel Situations"). Against forgetting, part of the steps repeat the answers of the
original decoder on other data (Li and Hoiem 2016, "Learning without Forgetting"), and the result is an average of the
weights before and after training (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder
from torch import Tensor
from torch.nn import functional

from ....arrays import GRID, LOGITS_PX, Features
from ....encoders.tiny.tiny_prompts import MapPromptEncoder
from ....errors import DatasetError
from ....geometry import INPUT_PX, Frame
from ....jobs import Job, Progress
from ....predict.decoder.prompt_decoder import PromptDecoder
from ....settings import check_settings, setting
from ...evaluation.prompt_evaluation import points_needed
from ..config import PromptTuningConfig
from ..interactive import FirstPrompts, Plan, embed_on_window, train_objects
from ..windows import TOKEN_PX, Window, sample_part
from .examples import ExampleTile, PromptExample

Weights = Mapping[str, Tensor]
"""State of a mask decoder."""

PADDING = -1
"""Label of points that the prompt encoder ignores."""
_TILE = Frame(0, 0, LOGITS_PX, LOGITS_PX, INPUT_PX)
"""The logit grid as a small image, on which clicks are simulated."""


@dataclass(frozen=True, slots=True)
class AdaptationConfig:
    """Configuration of a round."""

    steps: int = setting(40, min=1)
    """Number of steps."""
    objects: int = setting(4, min=1)
    """Number of objects per step, all on one tile."""
    part_tokens: int = setting(32, min=4, max=GRID)
    """Side of the part of a tile that a step decodes, in tokens; for models other than sampath-tiny it is the tile."""
    recorded_share: float = setting(0.5, min=0, max=1)
    """Fraction of the steps with recorded prompts; the others have simulated ones."""
    old_share: float = setting(0.3, min=0, max=1)
    """Fraction of the steps that repeat the answers of the original decoder on other data."""
    old_weight: float = setting(20.0, min=0)
    """Weight of the loss of these steps."""
    learning_rate: float = 1e-4
    average: float = setting(0.5, min=0, max=1)
    """Share of the trained weights in the result."""
    least_trained: int = setting(6, min=1)
    """Least number of objects to train on."""
    least_held_back: int = setting(3, min=1)
    """Least number of objects to measure on."""
    measured: int = setting(8, min=1)
    """Largest number of held-back objects to measure on, the newest."""
    seconds: float = setting(12.0, min=0)
    """Time after which no further step begins."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers of a decoder to simulated clicks on held-back objects."""

    clicks: float
    """Mean number of clicks to IoU 0.80, at most 10."""

    def no_worse_than(self, other: Measured) -> bool:
        """Return True if no more clicks are needed."""
        return self.clicks <= other.clicks


@dataclass(frozen=True, slots=True, eq=False)
class AdaptationResult:
    """Result of a round."""

    weights: dict[str, Tensor] = field(repr=False)
    """Weights of the adapted mask decoder, float32 on the CPU."""
    original: Measured
    """The original decoder."""
    before: Measured
    """The decoder with which the round began."""
    after: Measured
    """The adapted decoder."""
    objects: int
    """Number of objects that were trained on."""
    held_back: int
    """Number of objects that were measured on."""
    seconds: float

    @property
    def better(self) -> bool:
        """Whether the adapted decoder answers the held-back objects at least as well as both others."""
        return self.after.no_worse_than(self.before) and self.after.no_worse_than(self.original)


def adapt_job(
    prompt_encoder: PromptEncoder,
    mask_decoder: MaskDecoder,
    start: Weights | None,
    tiles: Sequence[ExampleTile],
    old: Sequence[ExampleTile] = (),
    config: AdaptationConfig | None = None,
) -> Job[AdaptationResult]:
    """Train a copy of a mask decoder on examples and measure it; the modules do not change.

    Args:
        prompt_encoder: The prompt encoder.
        mask_decoder: The original mask decoder.
        start: Weights with which training begins, those of an earlier round; the original ones if left out.
        tiles: The examples.
        old: Tiles on which the answers of the original decoder are repeated.
        config: The configuration.

    Raises:
        DatasetError: If there are too few examples.
    """
    config, began = config or AdaptationConfig(), time.monotonic()
    trained = [tile for tile in tiles if tile.window().prompted]
    held_back = [(tile, example) for tile in tiles for example in tile.examples if example.held_back]
    count = sum(len(tile.trained) for tile in trained)
    if count < config.least_trained or len(held_back) < config.least_held_back:
        raise DatasetError(
            f"There are {count} objects with prompts to learn from and {len(held_back)} to measure on; annotate until "
            f"there are at least {config.least_trained} and {config.least_held_back}."
        )
    torch.manual_seed(config.seed)
    first = dict(mask_decoder.state_dict() if start is None else start)
    decoder = copy.deepcopy(mask_decoder).train().requires_grad_(True)
    decoder.load_state_dict(first)
    teacher = copy.deepcopy(mask_decoder).eval().requires_grad_(False)
    trainer = _Trainer(prompt_encoder.eval().requires_grad_(False), decoder, teacher, config)
    windows = [(tile, tile.window()) for tile in trained]
    total = config.steps
    for step in range(config.steps):
        yield Progress(step, total, "Adapting to your objects", "steps")
        if time.monotonic() - began > config.seconds:
            break
        trainer.step(windows, old, step)
    trained_weights = decoder.state_dict()
    weights = {
        key: torch.lerp(value, trained_weights[key].detach(), config.average)
        if value.is_floating_point()
        else value
        for key, value in first.items()
    }
    states = (mask_decoder.state_dict(), first, weights)
    original, before, after = yield from _measure_job(
        prompt_encoder, decoder, states, held_back[-config.measured :]
    )
    seconds = time.monotonic() - began
    return AdaptationResult(
        weights, original, before, after, count, len(held_back[-config.measured :]), seconds
    )


def _measure_job(
    prompt_encoder: PromptEncoder,
    decoder: MaskDecoder,
    states: tuple[Weights, Weights, Weights],
    held_back: Sequence[tuple[ExampleTile, PromptExample]],
) -> Job[tuple[Measured, Measured, Measured]]:
    """Measure a decoder with three states: the original one, that before the round, and that after it."""
    measured: list[Measured] = []
    for number, state in enumerate(states):
        yield Progress(number, len(states), "Measuring on held-back objects", "decoders")
        same = number == 1 and all(torch.equal(value, state[key]) for key, value in states[0].items())
        if not same:
            decoder.load_state_dict(state)
        measured.append(measured[0] if same else measure(prompt_encoder, decoder, held_back))
    original, before, after = measured
    return original, before, after


def measure(
    prompt_encoder: PromptEncoder,
    mask_decoder: MaskDecoder,
    held_back: Sequence[tuple[ExampleTile, PromptExample]],
) -> Measured:
    """Count the simulated clicks that a mask decoder needs for objects."""
    decoder = PromptDecoder(prompt_encoder, mask_decoder.eval())
    features: dict[int, Features] = {}
    verified = np.ones((LOGITS_PX, LOGITS_PX), dtype=np.bool_)
    clicks = []
    for tile, example in held_back:
        if id(tile) not in features:
            embedding = torch.from_numpy(tile.embedding.astype(np.float32))
            features[id(tile)] = Features({"embedding": embedding}, _TILE, "")
        clicks.append(points_needed(decoder, features[id(tile)], example.target, verified))
    return Measured(float(np.mean(clicks)))


class _Trainer:
    """Trains a mask decoder.

    Args:
        prompt_encoder: Does not change.
        decoder: The decoder to train.
        teacher: The original decoder.
        config: The configuration.
    """

    def __init__(
        self,
        prompt_encoder: PromptEncoder,
        decoder: MaskDecoder,
        teacher: MaskDecoder,
        config: AdaptationConfig,
    ) -> None:
        self._prompt_encoder, self._decoder, self._teacher = prompt_encoder, decoder, teacher
        self._config = config
        self._plan = PromptTuningConfig(inner_points=True, box_noise=0.05, iterations=3)
        self._optimizer = torch.optim.AdamW(decoder.parameters(), lr=config.learning_rate, weight_decay=0.0)
        self._rng = np.random.default_rng(config.seed)

    def step(
        self, windows: Sequence[tuple[ExampleTile, Window]], old: Sequence[ExampleTile], number: int
    ) -> None:
        """Run one step: on examples, or on old data."""
        config, rng = self._config, self._rng
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1.0, (number + 1) / 5)
        if old and rng.random() < config.old_share:
            self._repeat(old[int(rng.integers(len(old)))])
        else:
            weights = np.array([len(window.prompted) for _, window in windows], dtype=float)
            self._learn(*windows[int(rng.choice(len(windows), p=weights / weights.sum()))])
        torch.nn.utils.clip_grad_norm_(self._decoder.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _learn(self, tile: ExampleTile, window: Window) -> None:
        """Accumulate the gradients of the losses on some examples of a tile."""
        config, rng = self._config, self._rng
        part, offset = sample_part(window, self._side(), rng)
        side = part.instances.shape[0] * GRID // LOGITS_PX
        iterations = int(rng.integers(1, 4))
        plan = Plan(self._plan, config.objects, iterations, 1.0)
        if rng.random() < config.recorded_share:
            chosen = rng.choice(part.prompted, size=min(config.objects, len(part.prompted)), replace=False)
            trained = tile.trained
            first = recorded_prompts(part, [trained[i - 1] for i in chosen], chosen.tolist(), rng)
        else:
            boxed = bool(rng.random() >= self._plan.point_share)
            first = FirstPrompts.sample([part], offset, plan, boxed, rng, torch.device("cpu"))
        embedding = self._embedding(tile, offset, side)
        train_objects(self._prompt_encoder, self._decoder, embedding, first, offset, plan, rng)

    def _repeat(self, tile: ExampleTile) -> None:
        """Accumulate the gradient of the difference to the answers of the original decoder at random points."""
        rng, side = self._rng, self._side()
        row, col = (int(v) for v in rng.integers(0, GRID - side + 1, 2))
        embedding = self._embedding(tile, (row, col), side)
        count = self._config.objects
        xy = rng.uniform(0, side * TOKEN_PX, (count, 1, 2)) + np.array([col, row]) * TOKEN_PX
        points = torch.as_tensor(xy, dtype=torch.float32), torch.ones(count, 1)
        rows, cols = slice(row, row + side), slice(col, col + side)
        sparse, dense = embed_on_window(self._prompt_encoder, points, None, None, (rows, cols))
        inputs = {
            "image_embeddings": embedding,
            "image_pe": self._prompt_encoder.get_dense_pe()[:, :, rows, cols],
            "sparse_prompt_embeddings": sparse,
            "dense_prompt_embeddings": dense,
        }
        with torch.no_grad():
            wanted, wanted_scores = self._teacher.predict_masks(**inputs)
        logits, scores = self._decoder.predict_masks(**inputs)
        loss = functional.mse_loss(torch.sigmoid(logits), torch.sigmoid(wanted))
        (self._config.old_weight * (loss + functional.mse_loss(scores, wanted_scores))).backward()

    def _side(self) -> int:
        """Return the side of the part to decode, in tokens; SAM's decoders know only whole tiles."""
        return self._config.part_tokens if isinstance(self._prompt_encoder, MapPromptEncoder) else GRID

    @staticmethod
    def _embedding(tile: ExampleTile, offset: tuple[int, int], side: int) -> Tensor:
        rows, cols = (slice(start, start + side) for start in offset)
        return torch.from_numpy(tile.embedding[None, :, rows, cols].astype(np.float32))


def recorded_prompts(
    window: Window,
    examples: Sequence[PromptExample],
    ids: Sequence[int],
    rng: np.random.Generator,
) -> FirstPrompts:
    """Return the recorded prompts of objects as first prompts: all of them, or those until a random correction.

    Either all objects have a box, or none: those unlike the first one are left out.

    Args:
        window: A part of a tile, with the ids of its objects.
        examples: The objects.
        ids: Their ids in the window.
        rng: Random number generator.
    """
    boxed = examples[0].box_xyxy is not None
    used = [(e, i) for e, i in zip(examples, ids, strict=True) if (e.box_xyxy is not None) == boxed]
    counts = [int(rng.integers(0 if boxed else 1, len(example.labels) + 1)) for example, _ in used]
    points, labels = [], []
    for (example, _), count in zip(used, counts, strict=True):
        padding = max(counts) - count
        points.append([*example.points_xy[:count], *[np.zeros(2)] * padding])
        labels.append([*example.labels[:count].tolist(), *[PADDING] * padding])
    boxes = np.stack([e.box_xyxy for e, _ in used if e.box_xyxy is not None]) if boxed else None
    targets = np.stack([window.instances == i for _, i in used])
    return FirstPrompts(
        torch.from_numpy(targets),
        torch.as_tensor(np.array(points).reshape(len(used), -1, 2), dtype=torch.float32),
        torch.as_tensor(np.array(labels).reshape(len(used), -1), dtype=torch.float32),
        None if boxes is None else torch.as_tensor(boxes, dtype=torch.float32),
        (len(used),),
    )
