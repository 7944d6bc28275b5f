"""Classes, documents, undo and the journal: what has been annotated, kept safe."""

from __future__ import annotations

from .annotation import Annotation, Box, Source, bounds, union
from .classes import ClassList
from .document import Document, mask_of_pixels
from .edits import Edits
from .history import History
from .journal import Header, Journal, pixel_digest
from .operations import Add, Delete, Erase, Operation, Reclassify, SetClasses
from .patch import Patch

__all__ = [
    "Add",
    "Annotation",
    "Box",
    "ClassList",
    "Delete",
    "Document",
    "Edits",
    "Erase",
    "Header",
    "History",
    "Journal",
    "Operation",
    "Patch",
    "Reclassify",
    "SetClasses",
    "Source",
    "bounds",
    "mask_of_pixels",
    "pixel_digest",
    "union",
]
