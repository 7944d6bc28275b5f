"""The classes of ImageJ ROIs, which have a group, a name and properties, but no class; see `imagej`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...files import JsonError, parse_json
from ...registry import join_names

if TYPE_CHECKING:
    from roifile import ImagejRoi

QUPATH_CLASS = "qupath.object.classification"
OWN = "sampath"
_NUMBER_AT_END = re.compile(r"[-_ ]+\d+$")
_AUTOMATIC = re.compile(r"[\d\W_]*|[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}|F\d+-C\d*", re.IGNORECASE)
"""Names that ImageJ and `roifile` (in Cellpose) assign automatically."""
_MAX_NAMES = 20
"""If more different names than this rarely repeat, they are names of objects, not of classes."""


def class_names(rois: Sequence[tuple[str, ImagejRoi]], notes: list[str]) -> Callable[[str, ImagejRoi], str]:
    """Decide which names of ROIs are names of classes.

    Args:
        rois: The ROIs with an area, and the names of their files.
        notes: Extended by a sentence if names are not used.

    Returns:
        A function (name of the file, ROI) -> name of its class, "" for none.
    """
    unstated = [(_class(roi.name or name), roi.group) for name, roi in rois if not _stated_class(roi)]
    names = {name for name, _ in unstated if name}
    by_group: dict[int, set[str]] = {}
    for name, group in unstated:
        by_group.setdefault(group, set()).add(name)
    # If all ROIs of a group have one name, and no other group has it, this name is the class of the group.
    counts = Counter(name for present in by_group.values() for name in present)
    group_names = {
        group: next(iter(present)) if len(present) == 1 and counts[next(iter(present))] == 1 else ""
        for group, present in by_group.items()
        if group > 0
    }
    rare = len(names) > _MAX_NAMES and 2 * len(names) > len(unstated)
    lost = (
        names if rare else set().union(*(by_group[group] for group in group_names if not group_names[group]))
    )
    lost -= {"", *group_names.values()}
    if rare and lost:
        notes.append(f"The {len(lost)} names of ROIs were not read as classes, because they rarely repeat.")
    elif lost:
        listed = join_names(sorted(lost))
        notes.append(f"The groups of ROIs were read as classes, and the names {listed} were not.")

    def class_of(name: str, roi: ImagejRoi) -> str:
        if stated := _stated_class(roi):
            return stated
        if roi.group > 0:
            return group_names[roi.group] or f"group {roi.group}"
        return "" if rare else _class(roi.name or name)

    return class_of


def properties_of(roi: ImagejRoi) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the properties of a ROI, and those that this package stored."""
    lines = (line.partition(":") for line in roi.props.splitlines())
    properties = {key.strip(): value.strip() for key, _, value in lines}
    try:
        stored = parse_json(properties.get(OWN, "{}"))
    except JsonError:
        stored = None  # Another program has changed the property; class and outline are independent of it.
    return properties, stored if isinstance(stored, dict) else {}


def _stated_class(roi: ImagejRoi) -> str:
    """Return the class that this package or QuPath stored; "" if there is none."""
    properties, own = properties_of(roi)
    return str(own.get("class") or properties.get(QUPATH_CLASS) or "")


def _class(name: str) -> str:
    """Return the class that the name of a ROI states; "" if ImageJ made the name automatically."""
    # The name is matched as a whole first, because the numbers at the end are part of an automatic name.
    if _AUTOMATIC.fullmatch(name):
        return ""
    name = _NUMBER_AT_END.sub("", name).strip()
    return "" if _AUTOMATIC.fullmatch(name) else name
