"""Time from a click to its mask, compared with `SamPredictor.predict`, for several image sizes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .models import shared_embedding, tissue
from .table import REPEATS, Row, alternate, limited, timed
from .tiny_sam import tiny_model

if TYPE_CHECKING:
    from napari_sampath.arrays import Features, LocalMask
    from napari_sampath.predict import Model

HUGE_PX = 20_000


def click(model: Model, features: Features, xy: tuple[float, float]) -> LocalMask:
    """Predict the mask of a click as the docks do: decode three candidates and return the best in image pixels."""
    from napari_sampath.arrays import Prompts
    from napari_sampath.predict import local_mask

    logits, scores = model.decode(features, Prompts.make([xy], [1]))
    return local_mask(features.frame, logits[scores.argmax()])


def rows(quick: bool = False) -> Iterator[Row]:
    """Time clicks on images of 1,024 and 4,096 px, and the growth of the cost from 1,024 to 20,000 px."""
    repeats = 2 if quick else REPEATS
    for side, bar in ((1024, 2.0), (4096, 4.0)):
        yield from compare_with_package(side, None if quick else bar, repeats)
    yield from growth(repeats)


def compare_with_package(side: int, bar: float | None, repeats: int) -> Iterator[Row]:
    """Time both implementations, and check that their masks are equal."""
    model, xy = tiny_model(), (0.4 * side, 0.6 * side)
    features, predictor = shared_embedding(side)
    masks, scores, _ = predictor.predict(np.array([xy]), np.array([1]))
    differing_px = int((click(model, features, xy).to_dense((side, side)) != masks[scores.argmax()]).sum())
    if differing_px > 1e-4 * side * side:
        raise AssertionError(f"The masks differ in {differing_px} pixels.")
    medians = alternate(
        {
            "theirs": lambda: predictor.predict(np.array([xy]), np.array([1])),
            "ours": lambda: click(model, features, xy),
            "predict": lambda: model.predict(features, [xy]),
        },
        repeats,
    )
    name = f"click to full-resolution mask, {side:,} px image"
    yield timed(name, medians, bar, f"best of three candidates; {differing_px} pixels differ")
    predict = {"ours": medians["predict"], "theirs": medians["theirs"]}
    yield timed(f"the same, all three masks, {side:,} px", predict, None, "`Model.predict`")


def growth(repeats: int) -> Iterator[Row]:
    """Compare clicks in sessions on a large and on a small image."""
    model, pixels = tiny_model(), tissue(1024)
    # Pages of zeros that are never written take no memory.
    huge = np.zeros((HUGE_PX, HUGE_PX, 3), dtype=np.uint8)
    middle = slice(HUGE_PX // 2 - 512, HUGE_PX // 2 + 512)
    huge[middle, middle] = pixels
    calls = {"huge": session_click(model, huge), "small": session_click(model, pixels)}
    medians = alternate(calls, max(repeats, 3))
    ratio = medians["huge"] / medians["small"]
    yield limited(
        f"click cost, {HUGE_PX:,} px image : 1,024 px image",
        ratio,
        1.3,
        ": 1",
        "through a session; the tile is encoded already",
    )
    yield limited(
        "largest allocation of a click on the 20,000 px image", largest_allocation(calls["huge"]), 32.0, "MB"
    )


def session_click(model: Model, image: np.ndarray) -> Callable[[], object]:
    """Return a function that clicks on the middle of an image as a session does."""
    from napari_sampath.session.prompts.answerer import PromptRequest, decode
    from napari_sampath.session.prompts.prompt_state import PromptState
    from napari_sampath.session.prompts.tile_cache import TileFeatures
    from napari_sampath.session.prompts.tile_choice import View

    tiles, (height, width) = TileFeatures(model, image), image.shape[:2]

    def click_middle() -> object:
        middle = (width / 2, height / 2)
        state = PromptState(((*middle, True),), frame=View((height, width)).tile_for([middle]))
        return decode(PromptRequest(0, state, tiles))

    return click_middle


def largest_allocation(call: Callable[[], object]) -> float:
    """Return the larger of the largest tensor and the peak of numpy and Python memory during a call, in MB."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            for value in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(value, torch.Tensor):
                    self.size = max(self.size, value.untyped_storage().nbytes())
            return result

    tracemalloc.start()
    try:
        with Largest() as largest:
            call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return max(peak, largest.size) / 1e6
