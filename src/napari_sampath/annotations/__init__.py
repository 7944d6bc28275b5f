"""Classes, documents, undo and the journal: what has been annotated, kept safe."""

from __future__ import annotations

from .annotation import FLAGS, Annotation, Box, FlagName, Source, bounds, union
from .classes import ClassList
from .document import Document
from .edits import Edits
from .header import Header, pixel_digest
from .history import History
from .journal import Journal
from .masks import clip, innermost, mask_of_pixels
from .operations import Add, Batch, Delete, Erase, Flag, Operation, Reclassify, SetClasses, Vouch
from .patch import Patch
from .prepared import Prepared, prepare
from .tiled import LookupMap, TiledMap

__all__ = [
    "FLAGS",
    "Add",
    "Annotation",
    "Batch",
    "Box",
    "ClassList",
    "Delete",
    "Document",
    "Edits",
    "Erase",
    "Flag",
    "FlagName",
    "Header",
    "History",
    "Journal",
    "LookupMap",
    "Operation",
    "Patch",
    "Prepared",
    "Reclassify",
    "SetClasses",
    "Source",
    "TiledMap",
    "Vouch",
    "bounds",
    "clip",
    "innermost",
    "mask_of_pixels",
    "pixel_digest",
    "prepare",
    "union",
]
