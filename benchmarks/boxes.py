"""Many objects on one tile in one call, against a loop of `SamPredictor.predict`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .models import opened, random_model
from .table import REPEATS, Row, alternate, timed

SIDE_PX = 1024


def rows(quick: bool = False) -> Iterator[Row]:
    """Answer 64 boxes, and 64 points."""
    count, repeats = (3, 1) if quick else (64, REPEATS)
    model = random_model()
    features, predictor = opened(SIDE_PX)
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
    yield timed(name, medians, None if quick else 3.0, "one mask a box, in image pixels")
    medians = alternate(
        {
            "theirs": lambda: [predictor.predict(point[None], np.ones(1)) for point in points],
            "ours": lambda: model.predict_points(features, points),
        },
        1 if quick else 3,
    )
    yield timed(f"{count} single points on one embedding", medians, None, "best of three masks")
