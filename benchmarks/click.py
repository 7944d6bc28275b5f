"""From a click to the mask in image pixels, against `SamPredictor.predict`, and on images of any size."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .models import opened, random_model, tissue
from .table import REPEATS, Row, alternate, limited, timed

if TYPE_CHECKING:
    from napari_sampath.arrays import Features, LocalMask
    from napari_sampath.predict import Model

HUGE_PX = 20_000


def click(model: Model, features: Features, xy: tuple[float, float]) -> LocalMask:
    """Do what the docks do for a click: three candidates, the best of them in image pixels."""
    from napari_sampath.arrays import Prompts
    from napari_sampath.predict import local_mask

    logits, scores = model.decode(features, Prompts.make([xy], [1]))
    return local_mask(features.frame, logits[scores.argmax()])


def rows(quick: bool = False) -> Iterator[Row]:
    """Click on images of 1,024 and 4,096 px, and compare one of 20,000 px with one of 1,024 px."""
    repeats = 2 if quick else REPEATS
    for side, bar in ((1024, 2.0), (4096, 4.0)):
        yield from against_package(side, None if quick else bar, repeats)
    yield from growth(repeats)


def against_package(side: int, bar: float | None, repeats: int) -> Iterator[Row]:
    """Time both sides, and check that their masks are the same."""
    model, xy = random_model(), (0.4 * side, 0.6 * side)
    features, predictor = opened(side)
    masks, scores, _ = predictor.predict(np.array([xy]), np.array([1]))
    different = int((click(model, features, xy).to_dense((side, side)) != masks[scores.argmax()]).sum())
    if different > 1e-4 * side * side:
        raise AssertionError(f"The masks differ in {different} pixels.")
    medians = alternate(
        {
            "theirs": lambda: predictor.predict(np.array([xy]), np.array([1])),
            "ours": lambda: click(model, features, xy),
            "all": lambda: model.predict(features, [xy]),
        },
        repeats,
    )
    name = f"click to full-resolution mask, {side:,} px image"
    yield timed(name, medians, bar, f"best of three candidates; {different} pixels differ")
    every = {"ours": medians["all"], "theirs": medians["theirs"]}
    yield timed(f"the same, all three masks, {side:,} px", every, None, "`Model.predict`")


def growth(repeats: int) -> Iterator[Row]:
    """Compare clicks in a session on a huge image and on a small one."""
    model, pixels = random_model(), tissue(1024)
    # Pages of zeros that nobody reads take no memory.
    huge = np.zeros((HUGE_PX, HUGE_PX, 3), dtype=np.uint8)
    middle = slice(HUGE_PX // 2 - 512, HUGE_PX // 2 + 512)
    huge[middle, middle] = pixels
    calls = {"huge": asker(model, huge), "small": asker(model, pixels)}
    medians = alternate(calls, max(repeats, 3))
    ratio = medians["huge"] / medians["small"]
    yield limited(
        f"click cost, {HUGE_PX:,} px image : 1,024 px image",
        ratio,
        1.3,
        ": 1",
        "as the docks ask; tile encoded",
    )
    yield limited("largest allocation of a click on it", largest_allocation(calls["huge"]), 32.0, "MB")


def asker(model: Model, image: np.ndarray) -> Callable[[], object]:
    """Open an image as a session does; return a call that clicks in its middle."""
    from napari_sampath.session.prompts.answerer import PromptRequest, decode
    from napari_sampath.session.prompts.prompting import Prompting
    from napari_sampath.session.prompts.tile_cache import TileFeatures
    from napari_sampath.session.prompts.tile_choice import View

    tiles, (height, width) = TileFeatures(model, image), image.shape[:2]

    def ask() -> object:
        prompting = Prompting(View((height, width)))
        prompting.add_point(width / 2, height / 2, True)
        return decode(PromptRequest(prompting.generation, prompting.state, tiles))

    return ask


def largest_allocation(call: Callable[[], object]) -> float:
    """Return the size in MB of the largest tensor an operation yields, or of all of numpy's and Python's."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            for one in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(one, torch.Tensor):
                    self.size = max(self.size, one.untyped_storage().nbytes())
            return result

    tracemalloc.start()
    try:
        with Largest() as seen:
            call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return max(peak, seen.size) / 1e6
