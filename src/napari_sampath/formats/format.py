"""Description of a format of label files: how it is recognised, read and written.

Each module of `outlines/` and `maps/` describes its formats in a tuple `FORMATS`; `registry.py` collects them. Import,
export, the docks and `docs/formats.md` use nothing else, so a new format is one new module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from ..errors import ImageError
from .class_numbers import FileClass
from .labels import WHOLE, Labels
from .objects import Objects
from .rings import Ring

if TYPE_CHECKING:
    from ..arrays import ClassInfo, LocalMask, UInt8Array
    from ..files import Write
    from .run_lengths import ColumnRuns
    from .source import Source

ValuesAs: TypeAlias = Literal["auto", "classes", "objects", "ask"]
OverlapOrder: TypeAlias = Literal["smaller-on-top", "file-order"]
Geometry: TypeAlias = Literal["outline", "nucleus"]
PointsAs: TypeAlias = Literal["skip", "prompts", "ask"]
Kept: TypeAlias = Literal[
    "pixels", "objects", "object numbers", "class numbers", "class names", "colours", "details", "size"
]
"""Information that a file stores: exact pixels, separate objects, their numbers, ..., the size of the image."""
KEEPS_ALL: frozenset[Kept] = frozenset(get_args(Kept))


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer to the question of an `ImportChoiceError`."""

    label: str
    """Text of a button."""
    changes: Mapping[str, Any]
    """Fields of `ReadOptions` to change."""
    flag: str
    """Flags of the command line that choose this answer."""


class ImportChoiceError(ImageError):
    """A file that can be read in several ways, of which the user has to choose one.

    Args:
        question: What was found, as the start of a sentence.
        advice: What else the user can do.
        choices: The possible answers.
    """

    def __init__(self, question: str, advice: str, choices: Sequence[Choice]) -> None:
        flags = " or ".join(choice.flag for choice in choices)
        super().__init__(f"{question}; {advice}, or add {flags}.")
        self.question = f"{question}."
        self.choices = tuple(choices)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What is known about the image, and the choices of the user where a file can be read in several ways."""

    image_name: str | None = None
    """Name of the image, with or without its ending, to find it in a file of several images."""
    digest: str = ""
    """Digest of its pixels, see `Snapshot.digest`. Identifies the export of a renamed image, and of one of several
    images with the same name."""
    hw: tuple[int, int] | None = None
    """Size (H, W) of the image in pixels; None if it is unknown, and the file's own size is used."""
    format: str | None = None
    """Name of the format; None to recognise it by the content."""
    as_: ValuesAs = "auto"
    """Whether the values of a label map are classes or objects; "ask" raises `ImportChoiceError` if it is not clear."""
    threshold: int | None = None
    """Label-map values of at least this number are one class, lower values background; None to read each value."""
    overlap: OverlapOrder = "smaller-on-top"
    """Which of two overlapping objects is on top, unless the file states an order."""
    geometry: Geometry = "outline"
    """Which outline of a QuPath cell is read."""
    points: PointsAs = "skip"
    """Whether points, which have no area, are left out or kept as prompts for a model; "ask" raises
    `ImportChoiceError` if there are points."""
    scale: float | Literal["fit"] | None = None
    """Factor from pixels of the file to pixels of the image; "fit" is the ratio of both sizes, and None requires that
    the sizes are equal."""
    offset_xy: tuple[float, float] | None = None
    """Position (x, y) in the image of the file's origin, in image pixels; if given, sizes may differ."""
    orientation: int = 1
    """`LoadedImage.orientation` of the image; a label map without an orientation tag is turned in the same way."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One object of a file, in pixels of the file's image: polygons, a mask, or both united."""

    class_name: str
    polygons: Sequence[Sequence[Ring]] = ()
    """Each is a list of rings (N, 2) of (x, y) where pixel (row i, column j) is the square from (j, i) to
    (j + 1, i + 1); a point is inside if it is inside an odd number of the rings."""
    mask: LocalMask | ColumnRuns | None = None
    holes: Sequence[Sequence[Ring]] = ()
    """Polygons whose pixels are removed; they may extend beyond the shape."""
    number: int | None = None
    """Object number; 0 for a region that is not an object, None for the next free number."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """See `LabelledObject.details`."""
    color: tuple[int, int, int] | None = None
    """Colour of its class, if the class list does not state it."""
    is_crowd: bool = False
    """Whether COCO calls it a crowd: an object at import, an ignored area in training."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point that marks an object without its outline."""

    class_name: str
    xy: tuple[float, float]
    """Position (x, y) in the file's image, where (0, 0) is the top left corner of the first pixel."""
    color: tuple[int, int, int] | None = None


@dataclass(slots=True, eq=False)
class Shapes:
    """The annotations of one image as a file states them; `painting.paint` makes objects of them."""

    hw: tuple[int, int] | None = None
    """Size (H, W) of the image according to the file; None if it is not stated."""
    items: list[Shape] = field(default_factory=list)
    """The objects, in the order of the file."""
    classes: list[FileClass] = field(default_factory=list)
    """Classes that the file lists; classes named only by shapes are added."""
    ignored: list[Shape] = field(default_factory=list)
    """Areas that are neither object nor background, such as boxes without an outline: left out at import, and ignored
    in training."""
    points: list[Point] = field(default_factory=list)
    """Points that may be prompts, see `ReadOptions.points`."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Reason, such as "lines without an area" -> number of annotations that are left out."""
    malformed: list[str] = field(default_factory=list)
    """For each annotation that cannot be read and is left out, which one it is and why, such as "shape 3: ..."."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the user."""
    image: str | None = None
    """Name of the image according to the file."""
    is_ordered: bool = False
    """Whether the file states that later shapes are on top."""


@dataclass(frozen=True, slots=True)
class Output:
    """One file or folder of an export; exactly one of `write` and `write_folder` is given."""

    path: str
    """Path relative to the folder of the export, with "/"."""
    write: Write | None = None
    """Writes the content to a binary stream."""
    write_folder: Callable[[Path], object] | None = None
    """Writes the content into a folder that does not exist yet."""
    kind: str = WHOLE
    """Its kind in `classes.json`, see `labels.KINDS`; "" for files that all images of the folder share."""


@dataclass(frozen=True, eq=False)
class Export:
    """The annotations of one image, the input of every writer."""

    name: str
    """Name of the image, such as "slide 7"."""
    file_name: str
    """Name of the image file with its ending, such as "slide 7.png"; the name if the file is unknown."""
    stem: str
    """Start of the names of the files of this image: `name` without characters that a file system refuses."""
    labels: Labels
    highest: int
    """Highest object number."""
    folder: Path
    """Folder of the export, with the files of earlier exports; it may not exist yet. Writers only read it."""
    image: UInt8Array | None = None
    """(H, W, 3) uint8 RGB, if known."""
    mpp: float | None = None
    """Micrometres per pixel, if known."""
    others: Mapping[str, Sequence[ClassInfo]] = field(default_factory=dict)
    """Start of the names of the files of the other images in the folder -> their classes."""

    @property
    def hw(self) -> tuple[int, int]:
        """Size (H, W) of the image."""
        height, width = self.labels.class_map.shape
        return int(height), int(width)

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes of the image, without the background."""
        return self.labels.classes

    @cached_property
    def objects_of_any_size(self) -> Objects:
        """The objects of the label maps; masks of very large ones have a step, see `Objects.of`."""
        return Objects.of(self.labels)

    @property
    def objects(self) -> Objects:
        """The objects of the label maps, with masks of single pixels.

        Raises:
            ImageError: If an object is too large for that.
        """
        for obj in self.objects_of_any_size.items:
            if obj.mask.step > 1:
                height, width = (span.stop - span.start for span in obj.mask.slices)
                raise ImageError(
                    f"The object {obj.number} of '{self.name}' is {width} x {height} px (width x height), too large "
                    "for this format; export it as geojson, ome-zarr or tiff."
                )
        return self.objects_of_any_size

    def path(self, suffix: str, kind: str = WHOLE) -> str:
        """Return the path of a file of this image, such as "slide 7_objects.geojson"."""
        return f"{self.stem}_{kind}.{suffix}"


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image that an annotation file lists."""

    name: str
    """Its file name as listed, with "/" between folders."""
    hw: tuple[int, int] | None = None
    """Size (H, W) according to the file."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the file, such as "case"."""


@dataclass(frozen=True, slots=True)
class Format:
    """One format of label files."""

    name: str
    """Name for the command line, such as "coco-polygons"."""
    label: str
    """Name in the docks and the documentation, such as "COCO (polygons)"."""
    suffixes: tuple[str, ...]
    """Usual file endings with the dot, such as (".json",); "/" stands for a folder."""
    recognises: Callable[[Source], bool] | None = None
    """Return True if a file or folder has this format, after reading as little as possible; None if it is not read."""
    read: Callable[[Source, ReadOptions], Shapes | Labels] | None = None
    """Read one image. Raises `ImageError` if the content is malformed."""
    images: Callable[[Source], Sequence[ImageEntry]] | None = None
    """List the images of a file that may hold several."""
    write: Callable[[Export], Iterable[Output]] | None = None
    """Return the files of one image."""
    summary: str = ""
    """One sentence: what it is for."""
    keeps: frozenset[Kept] = frozenset()
    """Information that is unchanged after writing and reading a file; checked by the round-trip test."""
    lost: str = ""
    """One sentence: what is not read or not written."""
    reader: str = ""
    """Name of the format whose reader reads the written files, if this format has no reader."""
    is_fallback: bool = False
    """Whether the format is tried last, because its content looks like that of other formats."""
