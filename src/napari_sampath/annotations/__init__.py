"""Classes, documents, undo and the journal: what has been annotated, kept safe."""

from __future__ import annotations

from .masks.masks import clip, innermost, mask_of_pixels
from .masks.tiled import LookupMap, TiledMap
from .model.annotated_object import FLAGS, AnnotatedObject, Box, FlagName, Source, bounds, union
from .model.classes import ClassList
from .model.document import Document
from .model.operations import Add, Batch, Delete, Erase, Flag, Operation, Reclassify, SetClasses, Verify
from .model.patch import Patch
from .model.prepared import Prepared, prepare
from .storage.edits import Edits
from .storage.header import Header, pixel_digest
from .storage.history import History, PromptStep
from .storage.journal import Journal

__all__ = [
    "FLAGS",
    "Add",
    "AnnotatedObject",
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
    "PromptStep",
    "Reclassify",
    "SetClasses",
    "Source",
    "TiledMap",
    "Verify",
    "bounds",
    "clip",
    "innermost",
    "mask_of_pixels",
    "pixel_digest",
    "prepare",
    "union",
]
