"""The orientation tag of EXIF and TIFF: how the stored rows and columns are turned and mirrored for display."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

TAG = 274
"""Number of the tag, in TIFF and EXIF."""

_NAMES = {
    2: "mirrored left to right",
    3: "turned by 180°",
    4: "mirrored top to bottom",
    5: "mirrored along its diagonal",
    6: "turned by 90° clockwise",
    7: "mirrored along its other diagonal",
    8: "turned by 90° counterclockwise",
}


def checked(value: object) -> int:
    """Return the value of an orientation tag; 1 if it is not a number from 1 to 8."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def turn(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn an array as stored, (H, W) or (H, W, C), to the way it is displayed.

    Args:
        values: The pixels.
        orientation: The tag, 1..8; 5..8 exchange height and width.

    Returns:
        A view.
    """
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    # Source: TIFF 6.0, tag Orientation; EXIF uses the same values.
    rows = orientation in (3, 4, 7, 8)
    columns = orientation in (2, 3, 6, 7)
    return values[:: -1 if rows else 1, :: -1 if columns else 1]


def turn_back(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Return a turned array as it is stored; the inverse of `turn`."""
    return turn(values, {6: 8, 8: 6}.get(orientation, orientation))


def turned_hw(hw: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return the displayed size (H, W) of an image with this orientation tag."""
    return (hw[1], hw[0]) if orientation >= 5 else hw


def describe(orientation: int) -> tuple[str, ...]:
    """Return a clause for the user that describes how an image was turned; nothing for 1."""
    name = _NAMES.get(orientation)
    return () if name is None else (f"it was {name}, as its orientation tag {orientation} states",)
