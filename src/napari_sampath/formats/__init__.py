"""Export and import of annotations, and dataset folders."""

from .dataset.folder import DatasetFolder
from .dataset.maps import DatasetItem
from .format import ImportChoiceError, ReadOptions
from .labels import Labels, MapLike
from .objects import LabelledObject, Objects
from .reading import import_labels, import_objects
from .snapshot import Snapshot
from .writing import export_labels

FORMATS: dict[str, str]
"""All export formats -> file ending."""

__all__ = [
    "FORMATS",
    "DatasetFolder",
    "DatasetItem",
    "ImportChoiceError",
    "LabelledObject",
    "Labels",
    "MapLike",
    "Objects",
    "ReadOptions",
    "Snapshot",
    "export_labels",
    "import_labels",
    "import_objects",
]


def __getattr__(name: str) -> object:
    # Looking for formats imports all of them.
    if name != "FORMATS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .registry import writable

    return {entry.name: "".join(entry.suffixes[:1]).lstrip(".") for entry in writable()}
