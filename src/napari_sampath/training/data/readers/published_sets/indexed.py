"""Published tissue datasets with an `index.csv`, recognised by its columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .....arrays import ClassInfo
from .....errors import DatasetError
from ...dataset import Dataset, Item, Sample
from ..classes import BACKGROUND
from .binary import load_instances
from .monuseg import NUCLEUS


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """A published dataset, recognised by the columns of its `index.csv`, then by the format of its images."""

    name: str
    columns: frozenset[str]
    """Columns that only this dataset has, or only datasets with another `image_suffix`."""
    group: str
    """Column with the slide or case."""
    stratum: str
    """Column with the tissue type; empty if there is none."""
    mpp: str
    """Column with the micrometres per pixel; empty if there is none."""
    classes: tuple[ClassInfo, ...]
    values: Mapping[int, int]
    licence: str
    attribution: str
    image_suffix: str = ".jpg"
    load: Callable[[Sample], Item] | None = None
    """Function that reads an image and its mask; None if masks are class maps. See `Sample.load`."""


PUBLISHED = (
    PublishedSet(
        name="ebhi_glands",
        columns=frozenset({"class", "class_id", "case_group"}),
        group="case_group",
        stratum="class",
        mpp="",
        classes=(BACKGROUND, ClassInfo(1, "gland", (0, 158, 115))),
        values={0: 0, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1},
        licence="CC-BY-4.0",
        attribution="EBHI-Seg, Shi et al. 2023, Front. Med. 10:1114673, doi:10.6084/m9.figshare.21540159",
    ),
    PublishedSet(
        name="bcss_tumor",
        columns=frozenset({"group", "tumor_fraction"}),
        group="group",
        stratum="",
        mpp="approx_mpp",
        classes=(BACKGROUND, ClassInfo(1, "tumour", (213, 94, 0))),
        values={0: 0, 255: 1},
        licence="CC0-1.0",
        attribution="BCSS, Amgad et al. 2019, Bioinformatics 35(18)",
    ),
    PublishedSet(
        name="bbbc038_nuclei",
        columns=frozenset({"group", "n_nuclei", "stain_family"}),
        group="group",
        stratum="stain_family",
        mpp="",
        classes=(BACKGROUND, NUCLEUS),
        values={0: 0, 1: 1},
        licence="CC0-1.0",
        attribution="BBBC038v1, Caicedo et al. 2019, Nat. Methods 16, Broad Bioimage Benchmark Collection",
        image_suffix=".png",
        load=load_instances,
    ),
    PublishedSet(
        name="tnbc_nuclei",
        columns=frozenset({"group", "n_nuclei", "stain_family"}),
        group="group",
        stratum="",
        mpp="",
        classes=(BACKGROUND, NUCLEUS),
        values={0: 0, 1: 1},
        licence="CC-BY-4.0",
        attribution="TNBC, Naylor et al. 2019, IEEE TMI 38(2), doi:10.5281/zenodo.1175282",
        load=load_instances,
    ),
)


def open_published(folder: Path, rows: Sequence[Mapping[str, str]]) -> Dataset | None:
    """Open a folder with `images/`, `masks/` and `index.csv` (`rows`); return None if it is not in `PUBLISHED`."""
    columns = set(rows[0]) if rows else set()
    sources = [entry for entry in PUBLISHED if entry.columns <= columns]
    if not sources:
        return None
    first = folder / "images" / rows[0]["name"]
    source = next((s for s in sources if first.with_name(first.name + s.image_suffix).is_file()), sources[0])
    samples = []
    for row in rows:
        image = folder / "images" / f"{row['name']}{source.image_suffix}"
        labels = folder / "masks" / f"{row['name']}.png"
        for path in (image, labels):
            if not path.is_file():
                raise DatasetError(f"'{path}' is listed in index.csv but missing; copy the dataset again.")
        stratum = row[source.stratum] if source.stratum else ""
        mpp = float(row[source.mpp]) if source.mpp else None
        group, split = row[source.group], row["split"]
        samples.append(Sample(row["name"], image, labels, group, split, stratum, mpp, source.load))
    return Dataset(
        source.name,
        tuple(samples),
        source.classes,
        source.values,
        licence=source.licence,
        attribution=source.attribution,
    )
