"""What is fuzzed: for each format, valid files and the code that reads them."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_sampath import images
from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import SampathError
from napari_sampath.formats import (
    DatasetFolder,
    Snapshot,
    export_labels,
    import_labels,
    import_objects,
    labels,
    registry,
)

from . import other_programs, slides

HW = (64, 80)
CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))
DETAILS = {
    3: {"score": 0.75, "source": "box", "prompts": {"points": [[3.5, 2, True]], "box": [1.5, 2, 30, 40]}}
}


@dataclass(frozen=True)
class Target:
    """A format."""

    name: str
    build: Callable[[Path], object]
    """Write valid files into an empty folder: each entry is one variant, a file or a folder."""
    read: Callable[[Path], object]
    """Read a variant."""
    unchanged: tuple[str, ...] = ()
    """Names of files that are not mutated."""
    weight: float = 1.0
    """Share of the files, relative to other formats."""


@functools.cache
def picture() -> Any:
    """Return an image (H, W, 3) uint8."""
    return np.random.default_rng(3).integers(0, 255, (*HW, 3), dtype=np.uint8)


@functools.cache
def snapshot() -> Snapshot:
    """Return the annotations of one image."""
    instances = np.zeros(HW, np.int32)
    instances[4:20, 5:30], instances[30:50, 40:70], instances[10:60, 2:4], instances[55, 60:75] = 1, 2, 3, 70
    classes = np.where(instances > 0, 1 + (instances % 2), 0).astype(np.uint8)
    return Snapshot("slide 0", picture(), classes, instances, None, CLASSES, DETAILS, 0.5)


def _import(path: Path) -> None:
    """Import with and without the size of the image; refused if both are."""
    if path.is_dir() and (path / "labels" / "slide 0.txt").exists():  # YOLO labels are single files
        path = path / "labels" / "slide 0.txt"
    refusals = []
    for read in (lambda: import_objects(path), lambda: import_labels(path, hw=HW)):
        try:
            read()
        except SampathError as error:
            refusals.append(error)
    if len(refusals) == 2:
        raise refusals[0]


def _export(name: str, folder: Path) -> None:
    export_labels(folder / "export", snapshot(), (name,))
    for path in sorted((folder / "export").rglob("slide*")):
        if path.name.endswith(("details.json", "_0000.png")):  # The latter is the image of nnU-Net.
            continue
        (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name)
    if name in ("cellpose", "nnunet"):  # Their files are not imported as a folder.
        shutil.rmtree(folder / "export")


def _image_files(folder: Path) -> None:
    import tifffile
    from PIL import Image

    rgb, grey = picture(), picture()[..., 0]
    for suffix in ("png", "jpg", "bmp", "webp", "gif", "ppm", "jp2"):
        Image.fromarray(rgb).save(folder / f"rgb.{suffix}")
    for mode in ("1", "L", "LA", "P", "RGBA", "I;16"):
        image = Image.fromarray(grey.astype(np.uint16) if mode == "I;16" else rgb)
        (image if mode == "I;16" else image.convert(mode)).save(folder / f"{mode.replace(';', '')}.png")
    exif = Image.Exif()
    exif[274] = 6  # orientation
    Image.fromarray(rgb).save(folder / "exif.jpg", exif=exif)
    for name, options in {
        "rgb": {"photometric": "rgb"},
        "lzw": {"photometric": "rgb", "compression": "lzw", "tile": (32, 32)},
        "jpeg": {"photometric": "rgb", "compression": "jpeg"},
        "planar": {"photometric": "rgb", "planarconfig": "separate"},
        "ome": {"photometric": "rgb", "metadata": {"axes": "YXS", "PhysicalSizeX": 0.5}},
        "big": {"photometric": "rgb", "bigtiff": True, "compression": "zlib", "predictor": True},
    }.items():
        options = {"metadata": None, **options}
        data = np.moveaxis(rgb, -1, 0) if name == "planar" else rgb
        tifffile.imwrite(folder / f"{name}.{'ome.tif' if name == 'ome' else 'tif'}", data, **options)
    tifffile.imwrite(folder / "imagej.tif", grey, imagej=True, metadata={"unit": "um", "spacing": 1})
    tifffile.imwrite(folder / "stack.tif", np.stack([grey] * 3), photometric="minisblack")


def _maps(folder: Path) -> None:
    import tifffile
    from PIL import Image

    instances = snapshot().instance_map
    Image.fromarray(instances.astype(np.uint16)).save(folder / "instances.png")
    Image.fromarray(snapshot().class_map).save(folder / "classes.png")
    tifffile.imwrite(folder / "instances.tif", instances.astype(np.uint32), compression="zlib")
    tifffile.imwrite(folder / "bool.tif", instances > 0)
    tifffile.imwrite(folder / "float.tif", instances.astype(np.float32))
    np.save(folder / "map.npy", instances)


def _folder_export(folder: Path) -> None:
    for variant in (("png", "tiff"), ("coco", "geojson")):
        export_labels(folder / "-".join(variant), snapshot(), variant)


def _dataset(folder: Path) -> None:
    dataset = DatasetFolder.create(folder / "set", CLASSES)
    for name in ("slide 0 r0", "slide 1 r0"):
        dataset.save_image(
            Snapshot(name, picture(), snapshot().class_map, snapshot().instance_map, mpp=0.5),
            name[:7],
            {"who": "me"},
        )


def _read_dataset(path: Path) -> None:
    from napari_sampath.jobs import run
    from napari_sampath.training import open_dataset
    from napari_sampath.training.data.dataset_report import format_dataset_report, report_job

    report = run(report_job(open_dataset(path)))
    format_dataset_report(report)
    json.dumps(report)


def _training_folders(folder: Path) -> None:
    from PIL import Image

    for layout in ("plain", "coco", "images-masks"):
        base = folder / layout
        (base / "images").mkdir(parents=True)
        for name in ("a", "b"):
            Image.fromarray(picture()).save(base / "images" / f"{name}.png")
    for layout, kind in {"plain": "labels", "images-masks": "masks"}.items():
        (folder / layout / kind).mkdir()
        for name in ("a", "b"):
            Image.fromarray(snapshot().class_map).save(folder / layout / kind / f"{name}.png")
    content = {"classes": [{"id": info.id, "name": info.name, "color": info.color} for info in CLASSES]}
    (folder / "plain" / "classes.json").write_text(json.dumps(content))
    (folder / "plain" / "index.csv").write_text("name,group,split\na,s1,train\nb,s2,val\n")
    export_labels(folder / "temporary", snapshot(), ("coco",))
    (source,) = (folder / "temporary").glob("slide*")
    coco = json.loads(source.read_text())
    coco["images"] = [
        coco["images"][0] | {"file_name": f"{name}.png", "id": n} for n, name in enumerate("ab", 1)
    ]
    coco["annotations"] += [entry | {"image_id": 2, "id": 100 + entry["id"]} for entry in coco["annotations"]]
    (folder / "coco" / "annotations.json").write_text(json.dumps(coco))
    shutil.rmtree(folder / "temporary")


def _journal(folder: Path) -> None:
    from napari_sampath.session import Session

    session = Session(picture(), "slide 0", None, CLASSES, folder / "x.jsonl")
    export_labels(folder / "temporary", snapshot(), ("geojson",))
    session.files.import_labels(next((folder / "temporary").glob("*.geojson")))
    session.undo()
    session.redo()
    session.close()
    shutil.rmtree(folder / "temporary")
    (folder / "x.jsonl.lock").unlink(missing_ok=True)


def _read_journal(path: Path) -> None:
    from napari_sampath.session import Session

    session = Session(picture(), "slide 0", None, None, path)
    try:
        for _ in range(3):
            session.undo()
        for _ in range(3):
            session.redo()
        session.files.export(path.parent / "out", ("png", "coco"))
    finally:
        session.close()


def _queue(folder: Path) -> None:
    from PIL import Image

    from napari_sampath.session.folder.queue import FolderQueue

    root = folder / "queue"
    root.mkdir()
    for name in ("a", "b"):
        Image.fromarray(picture()).save(root / f"{name}.png")
    queue = FolderQueue(root, root / "state")
    queue.next()
    queue.set_state("done") if hasattr(queue, "set_state") else None
    (root / "state.json").write_bytes(queue.file.read_bytes() if queue.file.exists() else b'{"states": {}}')
    shutil.rmtree(root / "state", ignore_errors=True)


def _read_queue(path: Path) -> None:
    from napari_sampath.session.folder.queue import FolderQueue

    state = path / "state"
    state.mkdir()
    queue = FolderQueue(path, state)
    shutil.copy(path / "state.json", queue.file)
    queue = FolderQueue(path, state)
    queue.by_uncertainty = True
    _ = queue.entries, queue.upcoming, queue.progress, queue.current
    queue.next()


def _bundles(folder: Path) -> None:
    from napari_sampath.arrays import FeatureMap, FeatureSpec
    from napari_sampath.heads import EncoderRef, Metadata, create, save_bundle

    spec = FeatureSpec((FeatureMap("embedding", 8, "sampath-tiny"),))
    metadata = Metadata(
        "my head", (EncoderRef("sampath-tiny", "0" * 32),), 0.5, {"a": 1}, {"m": 0.5}, {"n": "d"}, "CC0", "me"
    )
    for kind, arguments in (
        ("cnn", {"top_channel": 2}),
        ("linear", {}),
        ("forest", {"trees": 3, "depth": 3, "nodes": 7}),
    ):
        head = create(kind, spec, CLASSES, **arguments)
        save_bundle(folder / f"{kind}.safetensors", head, metadata)


def _read_bundle(path: Path) -> None:
    import torch

    from napari_sampath.heads import load_head

    loaded = load_head(path)
    maps = {feature.name: torch.zeros(1, feature.channels, 4, 4) for feature in loaded.head.spec.maps}
    loaded.head(maps)


def _weights(folder: Path) -> None:
    import safetensors.torch
    import torch

    state = {
        "a.weight": torch.ones(5, 6),
        "a.bias": torch.zeros(6, dtype=torch.float16),
        "n": torch.tensor(3),
    }
    torch.save(state, folder / "zip.pth")
    torch.save({"epoch": 3, "model": state, "optimizer": {"lr": [1.0]}}, folder / "nested.pth")
    torch.save(state, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, folder / "w.safetensors")


def _read_weights(path: Path) -> None:
    from napari_sampath.encoders.weights.weights import digest, load_state_dict

    digest(load_state_dict(path))


def _store_key() -> Any:
    from napari_sampath.store import FeatureKey

    return FeatureKey("0" * 32, "sampath-tiny", "1" * 32, "float32", 1)


def _store(folder: Path) -> None:
    import torch

    from napari_sampath.store import DiskTier

    DiskTier(folder / "store", 2**30).put(_store_key(), {"embedding": torch.ones(2, 3, 3)})


def _read_store(path: Path) -> None:
    from napari_sampath.jobs import run
    from napari_sampath.store import DiskTier

    tier = DiskTier(path, 2**30)
    maps = tier.get(_store_key())
    if maps is not None:
        float(maps["embedding"].sum())
    run(tier.verify_job())
    tier.info()


def _settings(folder: Path) -> None:
    config = {"cache_dir": "~/x", "device": "cpu", "cache_limit_bytes": 1000, "precision": "auto"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "keys.json").write_text(json.dumps({"smooth": "Shift-S", "help": "F1"}))


def _read_settings(path: Path) -> None:
    from napari_sampath.config import load_config, read_settings, settings_file

    target = settings_file(path.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)
    try:
        if path.name == "config.json":
            config = load_config()
            str(config.weights_dir)
        else:
            {str(name): str(key) for name, key in read_settings(path.name).items()}
    finally:
        target.unlink()


def _notes(folder: Path) -> None:
    base = folder / "notes"
    (base / "weights").mkdir(parents=True)
    note = {"name": "m.safetensors", "url": "http://127.0.0.1:9/x", "sha256": "", "size": 3, "from_hub": True}
    (base / "weights" / ".m.safetensors.hub.json").write_text(json.dumps(note))
    (base / "weights" / ".v.bin.verified.json").write_text(
        json.dumps({"sha256": "", "size": 3, "mtime_ns": 5})
    )
    (base / "heads").mkdir()
    content = {"schema": 1, "accepted": ["cnn-1.safetensors"], "offered": None}
    (base / "heads" / "heads.json").write_text(json.dumps(content))


def _read_notes(path: Path) -> None:
    from napari_sampath.config import overriding
    from napari_sampath.encoders.weights.hub import HubFile, locate_hub_job
    from napari_sampath.encoders.weights.weights import WeightsFile, locate_job
    from napari_sampath.jobs import run
    from napari_sampath.training.rounds.heads_in_use import HeadsInUse

    (path / "weights" / "m.safetensors").write_bytes(b"abc")
    (path / "weights" / "v.bin").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with overriding(cache_dir=str(path)):
        run(locate_job(WeightsFile("v.bin", "http://127.0.0.1:9/x", digest, 3)))
        run(locate_hub_job(HubFile("m.safetensors", "owner/net", 3)))
    HeadsInUse(path)


def _written() -> list[str]:
    """Return the names of the formats that can be exported."""
    allowed = getattr(labels, "FORMATS", None)
    return [entry.name for entry in registry.writable() if allowed is None or entry.name in allowed]


def _build_format(name: str, folder: Path) -> None:
    if name in _written():
        _export(name, folder)
    if name in other_programs.EXAMPLES:
        other_programs.EXAMPLES[name](folder)


def _registered() -> list[Target]:
    """Return the formats of the registry: our own exports, and examples of other programs."""
    return [
        Target(f"import {name}", functools.partial(_build_format, name), _import, ("classes.json",))
        for name in sorted({*_written(), *other_programs.EXAMPLES})
    ]


@functools.cache
def targets() -> tuple[Target, ...]:
    """Return everything that is fuzzed."""
    return (
        Target("images", _image_files, lambda path: images.read(path), weight=3),
        Target("slides", lambda folder: slides.write_slides(picture(), folder), slides.read_slide, weight=2),
        Target("import label maps", _maps, _import, weight=2),
        Target("import folders", _folder_export, _import, weight=2),
        *_registered(),
        Target("dataset", _dataset, _read_dataset, (".lock",), weight=2),
        Target("training folders", _training_folders, _read_dataset, weight=2),
        Target("journal", _journal, _read_journal, weight=3),
        Target("queue", _queue, _read_queue, ("a.png", "b.png")),
        Target("bundles", _bundles, _read_bundle, weight=2),
        Target("weights", _weights, _read_weights, weight=2),
        Target("feature store", _store, _read_store),
        Target("settings", _settings, _read_settings, weight=0.5),
        Target("notes", _notes, _read_notes),
    )


def find(name: str) -> Target:
    """Return a target by name."""
    return next(target for target in targets() if target.name == name)


def home(folder: Path) -> dict[str, str]:
    """Return the environment in which all folders of the user are inside `folder`."""
    names = (
        "HOME",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
        "SAMPATH_CACHE",
        "HF_HOME",
        "TMPDIR",
    )
    values = {name: str(folder / name.lower()) for name in names}
    for value in values.values():
        os.makedirs(value, exist_ok=True)
    return values
