"""Data model of annotations: objects, classes, operations, undo history and journal."""

from __future__ import annotations

from .masks.masks import Box, bounds, clip, innermost, mask_of_pixels, union
from .masks.tiled_map import LookupMap, TiledMap
from .model.annotated_object import FLAGS, AnnotatedObject, FlagName, Source
from .model.classes import ClassList
from .model.document import Document
from .model.operations import Add, Batch, Delete, Erase, Flag, Operation, Reclassify, SetClasses, Verify
from .model.patch import Patch
from .model.prepared import Prepared, prepare
from .model.recorder import perform
from .storage.edits import Edits
from .storage.header import Header, pixel_digest
from .storage.history import History, PromptStep, Step
from .storage.journal import Journal, open_journal

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
    "Step",
    "TiledMap",
    "Verify",
    "bounds",
    "clip",
    "innermost",
    "mask_of_pixels",
    "open_journal",
    "perform",
    "pixel_digest",
    "prepare",
    "union",
]
