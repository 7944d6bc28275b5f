"""Arrays for programs that segment and classify nuclei: HoVer-Net and CellViT.

HoVer-Net (vqdang/hover_net: `extract_patches.py`, `dataloader/train_loader.py`) reads one array (H, W, 5) for each
patch: red, green, blue, instance map, type map. CellViT (TIO-IKIM/CellViT: `datasets/pannuke.py`,
`prepare_pannuke.py`) reads `fold0/images/NAME.png` and `fold0/labels/NAME.npy`, a pickled dictionary with "inst_map"
and "type_map", and for each fold `types.csv` and `cell_count.csv`.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .pixels import json_bytes, npy, png
from .sample import Sample
from .writer import LayoutWriter

_FOLDS = {"train": "fold0", "val": "fold1", "test": "fold2"}
_TISSUE = "unknown"
"""Tissue type of all images, because projects have none."""


@dataclass
class HovernetWriter(LayoutWriter):
    """Writes `train/NAME.npy`, `valid/NAME.npy` and `test/NAME.npy`, int32 (H, W, 5), and `type_info.json`."""

    _sizes: set[tuple[int, ...]] = field(init=False, default_factory=set)

    def add(self, sample: Sample) -> None:
        """Write one array."""
        typed = sample.with_class_numbers(self.numbers).typed_map
        maps = [sample.numbered_map[..., None], typed[..., None]]
        values = np.concatenate([sample.image, *maps], axis=-1, dtype=np.int32)
        place = "valid" if sample.split == "val" else sample.split
        self.folder.write(f"{place}/{sample.name}.npy", npy(values))
        self._sizes.add(sample.class_map.shape)

    def finish(self) -> list[str]:
        """Write the names and colours of the types."""
        types: dict[str, Any] = {"0": ["background", [0, 0, 0]]}
        types |= {str(self.numbers[info.id]): [info.name, list(info.color)] for info in self.numbered}
        self.folder.write("type_info.json", json_bytes(types))
        remarks = [
            f"Each .npy is int32 (H, W, 5): red, green, blue, instance map, type map. Set nr_type = {len(types)} in "
            "config.py and give these folders as train_dir_list and valid_dir_list; no file needs allow_pickle.",
            "Some versions of dataloader/train_loader.py turn type 5 into type 1; remove that line.",
        ]
        if len(self._sizes) > 1 or self._sizes & {(h, w) for h, w in self._sizes if h != w}:
            remarks.append(
                "The arrays are not all squares of one size; HoVer-Net is trained on patches, such as 540 px at 0.25 "
                "um/px with an overlap of 376 px."
            )
        return remarks


@dataclass
class CellvitWriter(LayoutWriter):
    """Writes `fold0` (train), `fold1` (val) and `fold2` (test), and the two configuration files."""

    _counts: dict[str, dict[str, Counter[int]]] = field(init=False, default_factory=lambda: defaultdict(dict))
    _sizes: set[tuple[int, ...]] = field(init=False, default_factory=set)

    def add(self, sample: Sample) -> None:
        """Write one image and its maps."""
        fold, numbered = _FOLDS[sample.split], sample.with_class_numbers(self.numbers)
        maps: Any = np.empty((), dtype=object)
        maps[()] = {
            "inst_map": sample.numbered_map.astype(np.int32),
            "type_map": numbered.typed_map.astype(np.int32),
        }
        self.folder.write(f"{fold}/images/{sample.name}.png", png(sample.image))
        self.folder.write(f"{fold}/labels/{sample.name}.npy", npy(maps))
        self._counts[fold][f"{sample.name}.png"] = Counter(obj.class_id for obj in numbered.objects.items)
        self._sizes.add(sample.class_map.shape)

    def finish(self) -> list[str]:
        """Write the lists of the folds and the configuration files."""
        names = [info.name for info in self.numbered]
        for fold, images in self._counts.items():
            counts = [
                [image, *(count[n] for n in range(1, len(names) + 1))] for image, count in images.items()
            ]
            self.folder.write(f"{fold}/cell_count.csv", _csv(["Image", *names], counts))
            self.folder.write(
                f"{fold}/types.csv", _csv(["img", "type"], [[image, _TISSUE] for image in images])
            )
        nuclei = "".join(
            f"  {json.dumps(n, ensure_ascii=False)}: {i}\n" for i, n in enumerate(["Background", *names])
        )
        config = f"tissue_types:\n  {_TISSUE}: 0\nnuclei_types:\n{nuclei}"
        total = sum(map(len, self._counts.values()))
        self.folder.write("dataset_config.yaml", config.encode("utf-8", "surrogatepass"))
        self.folder.write("weight_config.yaml", f"tissue:\n  {_TISSUE}: {total}\n".encode())
        remarks = [
            f"fold0 is train, fold1 val, fold2 test; num_nuclei_classes is {len(names) + 1}, num_tissue_classes is 1.",
            "Each .npy is a pickled dictionary, as CellViT expects; load it with allow_pickle=True only if you trust "
            "the source of this folder.",
        ]
        if any(side % 32 for size in self._sizes for side in size) or len(self._sizes) > 1:
            remarks.append(
                "The images are not all of one size that is a multiple of 32 px; CellViT is trained on patches of "
                "256 px at 0.25 um/px."
            )
        return remarks


def _csv(header: list[str], rows: list[list[Any]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return stream.getvalue().encode("utf-8", "surrogatepass")
