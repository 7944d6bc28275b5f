"""Many prompts on one tile in one call, compared with a loop over `SamPredictor.predict`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .models import shared_embedding
from .table import REPEATS, Row, alternate, timed
from .tiny_sam import tiny_model

SIDE_PX = 1024


def rows(quick: bool = False) -> Iterator[Row]:
    """Time 64 boxes and 64 points."""
    count, repeats = (3, 1) if quick else (64, REPEATS)
    model = tiny_model()
    features, predictor = shared_embedding(SIDE_PX)
    rng = np.random.default_rng(0)
    points = rng.uniform(60, SIDE_PX - 60, (count, 2))
    boxes = np.concatenate([points - 25, points + 25], axis=1)
    medians = alternate(
        {
            "theirs": lambda: [predictor.predict(box=box, multimask_output=False) for box in boxes],
            "ours": lambda: model.predict_boxes(features, boxes),
        },
        repeats,
    )
    name = f"{count} boxes on one embedding"
    yield timed(name, medians, None if quick else 3.0, "one mask per box, in image pixels")
    medians = alternate(
        {
            "theirs": lambda: [predictor.predict(point[None], np.ones(1)) for point in points],
            "ours": lambda: model.predict_points(features, points),
        },
        1 if quick else 3,
    )
    yield timed(f"{count} single points on one embedding", medians, None, "best of three masks")
