"""Slide of 40,000 x 40,000 px with nine objects."""

from __future__ import annotations

import numpy as np

from napari_sampath.annotations import Add, AnnotatedObject, Document, perform
from napari_sampath.arrays import ClassInfo, LocalMask

CLASSES = (ClassInfo(1, "gland", (0, 158, 115)),)
SIDE = 40_000


def annotated_slide() -> Document:
    document = Document((SIDE, SIDE), CLASSES)
    rows, cols = np.mgrid[:300, :300]
    disc = np.hypot(rows - 150, cols - 150) < 150
    items = [
        (AnnotatedObject(number, 1, "point"), LocalMask(number * 3900, SIDE - 400 - number * 3000, disc))
        for number in range(1, 10)
    ]
    perform(document, Add(tuple(items)))
    return document
