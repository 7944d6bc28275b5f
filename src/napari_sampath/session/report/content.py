"""Content of a report about the images of a project: counts, areas, review."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ...arrays import ClassInfo, UInt8Array
from ...errors import SampathError
from ...jobs import Job, Progress
from ..figures import FigureSettings, make_figure
from ..figures.writing import with_outlines
from ..project.content import ProjectImage
from ..project.exporting import annotated, classes_in_use
from ..project.project import Project
from ..session import Session

PICTURES = 12
"""Largest number of pictures."""
_SIDE_PX = 420
_BAND_PX = 1024


@dataclass(frozen=True, slots=True, eq=False)
class ImageRow:
    """One image of the report."""

    name: str
    slide: str
    split: str
    """"train", "val", "test", or "" if none is assigned."""
    training: bool
    hw: tuple[int, int]
    mpp: float | None
    objects: Counter[int] = field(default_factory=Counter)
    """Class -> number of objects."""
    area_px: Counter[int] = field(default_factory=Counter)
    """Class -> area of its objects in pixels."""
    unreviewed: int = 0
    unsure: int = 0
    verified_share: float = 0.0
    """Share of the pixels that a person has verified."""
    picture: UInt8Array | None = None
    """(h, w, 3) uint8 with outlines."""
    problem: str = ""
    """Why the image could not be read, one sentence; "" if it could."""


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class of the report."""

    info: ClassInfo
    objects: int
    images: int
    """Number of images with objects of the class."""
    area_px: int
    area_um2: float
    """Area in the images whose scale is known."""
    objects_with_scale: int
    """Number of objects in these images."""


def rows_job(project: Project, sessions_dir: Path) -> Job[tuple[tuple[ClassInfo, ...], list[ImageRow]]]:
    """Make a job that reads the annotations of all images of a project; progress counts images.

    Returns:
        The job; its result is the classes in use, and one row for each image.
    """
    rows: list[ImageRow] = []
    classes = classes_in_use(project, sessions_dir)
    images = list(project.images.values())
    for number, image in enumerate(images):
        yield Progress(number, len(images), f"Reading {image.name}", "images")
        path = project.file_of(image)
        if path is None:
            rows.append(_row(project, image, problem="its file is missing"))
            continue
        try:
            with annotated(project, image, path, sessions_dir, classes) as session:
                pictures = sum(row.picture is not None for row in rows)
                rows.append(_annotated_row(project, image, session, pictures < PICTURES))
        except SampathError as error:
            rows.append(_row(project, image, problem=str(error)))
    return classes, rows


def class_rows(classes: tuple[ClassInfo, ...], rows: list[ImageRow]) -> list[ClassRow]:
    """Add up the objects and areas of each class."""
    result = []
    for info in classes:
        known = [row for row in rows if row.mpp is not None]
        result.append(
            ClassRow(
                info,
                sum(row.objects[info.id] for row in rows),
                sum(row.objects[info.id] > 0 for row in rows),
                sum(row.area_px[info.id] for row in rows),
                sum(row.area_px[info.id] * (row.mpp or 0.0) ** 2 for row in known),
                sum(row.objects[info.id] for row in known),
            )
        )
    return result


def _row(project: Project, image: ProjectImage, problem: str = "") -> ImageRow:
    slide, split = project.slide_of(image), project.split_of(image)
    return ImageRow(image.name, slide, split, image.training, image.hw, image.mpp, problem=problem)


def _verified_share(session: Session) -> float:
    """Return the share of verified pixels, added up band by band."""
    height, width = session.hw
    bands = (
        int(session.area.mask((top, 0, min(top + _BAND_PX, height), width)).sum())
        for top in range(0, height, _BAND_PX)
    )
    return sum(bands) / (height * width)


def _annotated_row(project: Project, image: ProjectImage, session: Session, with_picture: bool) -> ImageRow:
    document = session.document
    objects, area_px = Counter[int](), Counter[int]()
    for obj in document.objects.values():
        objects[obj.class_id] += 1
        area_px[obj.class_id] += obj.area_px
    records = document.objects.values()
    picture = None
    if with_picture and objects:
        settings = FigureSettings(width_px=_SIDE_PX, line_px=1.5, legend=False, scale_bar=False)
        figure = make_figure(session.image, document, (0, 0, *session.hw), image.name, None, settings)
        picture = with_outlines(figure)
    return ImageRow(
        image.name,
        project.slide_of(image),
        project.split_of(image),
        image.training,
        image.hw,
        image.mpp,
        objects,
        area_px,
        sum(obj.trust == 0 for obj in records),
        sum(obj.unsure for obj in records),
        _verified_share(session),
        picture,
    )
