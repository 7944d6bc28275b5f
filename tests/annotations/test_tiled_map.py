from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sampath.annotations import Delete, TiledMap, perform
from napari_sampath.annotations.masks.tile_store import TileStore
from napari_sampath.annotations.masks.tiles import TILE_PX
from napari_sampath.errors import ImageError
from support.slide import SIDE, annotated_slide

HW = (TILE_PX + 70, 2 * TILE_PX + 30)
spots = st.sampled_from([0, 1, TILE_PX - 1, TILE_PX, TILE_PX + 1, TILE_PX + 60])
spans = st.tuples(spots, st.integers(0, TILE_PX + 20))
steps = st.sampled_from([None, 1, 3])
slices = st.builds(
    lambda start, length, step: slice(start, start + length, step), spots, st.integers(0, 90), steps
)
keys = st.one_of(
    st.tuples(slices, slices),
    st.tuples(spots, spots),
    st.tuples(spots, slices),
    slices,
    spots,
    st.just(Ellipsis),
    st.tuples(st.just(Ellipsis), slices),
    st.lists(st.tuples(spots, spots), min_size=1, max_size=5).map(lambda at: tuple(np.array(at).T)),
    st.tuples(st.just(slice(None, None, -7)), st.just(slice(5, 2, -1))),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(keys, st.integers(0, 9)), max_size=5), keys)
def test_indexing_matches_an_array(writes: list, key: object) -> None:
    tiled, plain = TiledMap(HW, np.int32), np.zeros(HW, dtype=np.int32)
    for place, value in writes:
        taken, before = tiled.snapshot(), plain.copy()
        tiled[place] = value
        plain[place] = value
        assert (np.asarray(taken) == before).all(), "a snapshot does not change"
    assert (np.asarray(tiled) == plain).all()
    np.testing.assert_array_equal(tiled[key], plain[key])
    assert (tiled.sum(), tiled.any(), tiled.max()) == (plain.sum(), plain.any(), plain.max())
    assert ((tiled > 3) == (plain > 3)).all()
    covered = np.zeros(HW, dtype=bool)
    for r0, c0, r1, c1 in tiled.filled_boxes():
        covered[r0:r1, c0:c1] = True
    assert not plain[~covered].any()


boxes = st.tuples(spots, spots, st.integers(1, TILE_PX + 40), st.integers(1, 2 * TILE_PX)).map(
    lambda at: (at[0], at[1], min(at[0] + at[2], HW[0]), min(at[1] + at[3], HW[1]))
)
changes = st.one_of(
    st.tuples(st.just("fill"), boxes, st.integers(0, 3)),
    st.tuples(st.just("noise"), boxes, st.integers(0, 2**32)),
    st.tuples(st.just("disc"), boxes, st.integers(0, 9)),
)


def changed(kind: str, part: np.ndarray, number: int) -> np.ndarray:
    """Return new values of a window: one value, random values, or a disc on what is there."""
    if kind == "fill":
        return np.full_like(part, number)
    if kind == "noise":
        return np.random.default_rng(number).integers(0, 5, part.shape).astype(part.dtype)
    rows, cols = np.indices(part.shape)
    inside = np.hypot(rows - part.shape[0] / 2, cols - part.shape[1] / 2) < min(part.shape) / 2
    return np.where(inside, part.dtype.type(number), part)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiles")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(changes, max_size=8),
    st.sampled_from([np.int32, np.bool_]),
    st.integers(0, 8),
    st.integers(1, 3),
    st.sampled_from([0, 3000, 2**30]),
)
def test_tiles_of_every_kind_match_an_array(
    folder: Path, steps: list, dtype: type, level: int, most_open: int, memory_bytes: int
) -> None:
    store = TileStore(folder, memory_bytes)
    tiled, plain = TiledMap(HW, dtype, most_open, store), np.zeros(HW, dtype=dtype)
    kept: list[tuple[TiledMap, np.ndarray]] = []
    for kind, (r0, c0, r1, c1), number in steps:
        kept.append((tiled.snapshot(), plain.copy()))
        plain[r0:r1, c0:c1] = changed(kind, plain[r0:r1, c0:c1], number)
        if kind == "fill":
            tiled.fill((r0, c0, r1, c1), number)
        else:
            tiled.write((r0, c0, r1, c1), plain[r0:r1, c0:c1])
        check_summary(tiled, plain, 2**level)
    for snapshot, before in [*kept, (tiled, plain)]:
        np.testing.assert_array_equal(np.asarray(snapshot), before)
        check_summary(snapshot, before, 2**level)
    covered = np.zeros(HW, dtype=bool)
    for r0, c0, r1, c1 in tiled.tiles_in([(0, 0, *HW)]):
        covered[r0:r1, c0:c1] = True
    assert not plain[~covered].any()
    assert store.in_memory_bytes <= memory_bytes


def check_summary(tiled: TiledMap, plain: np.ndarray, step: int) -> None:
    """A cell shows one of its labels exactly if an eighth of it is labelled, wherever the window begins."""
    whole = tiled.read((0, 0, *HW), step)
    padded = np.pad(plain, [(0, -side % step) for side in HW], mode="edge")
    cells = padded.reshape(padded.shape[0] // step, step, -1, step).swapaxes(1, 2).reshape(*whole.shape, -1)
    np.testing.assert_array_equal(whole != 0, (cells != 0).sum(axis=-1) * (8 if step > 1 else 1) >= step**2)
    assert (cells == whole[..., None]).any(axis=-1)[whole != 0].all()
    top, left = whole.shape[0] // 3, whole.shape[1] // 2
    part = tiled.read((top * step, left * step, HW[0], (whole.shape[1] - 1) * step), step)
    np.testing.assert_array_equal(part, whole[top:, left:-1] if left < whole.shape[1] - 1 else part)


def test_windows_between_the_cells_of_a_step_are_refused() -> None:
    tiled = TiledMap(HW, np.uint8)
    for box, step in (
        ((0, 0, 8, 8), 3),
        ((0, 0, 8, 8), 512),
        ((2, 0, 8, 8), 4),
        ((0, 0, 8, 9), 4),
        ((0, 0, 9999, 8), 4),
    ):
        with pytest.raises(ValueError, match=f"{step}"):
            tiled.read(box, step)


def test_indices_outside_the_map_are_refused() -> None:
    tiled = TiledMap(HW, np.uint8)
    for key in ((HW[0], 0), (0, -HW[1] - 1), (0, 0, 0)):
        with pytest.raises(IndexError):
            tiled[key]


def test_slide_takes_memory_for_annotated_tiles_only(tmp_path: Path) -> None:
    document = annotated_slide()
    assert document.instance_map.nbytes < 50 * 2**20
    assert document.class_map[3900 + 150, SIDE - 3400 + 150] == 1
    with pytest.raises(ImageError, match="40000 x 40000 px"):
        np.asarray(document.class_map)
    patch = perform(document, Delete((4,)))
    document.revert(patch)
    assert document.objects[4].area_px == document.pixels(4).area_px


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_slide_is_exported_and_imported_in_little_memory(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import pathlib, sys
        import tifffile, zarr, skimage.measure, scipy.ndimage
        from napari_sampath.formats import Snapshot, export_labels, import_objects
        from support.slide import annotated_slide

        def peak_kib():
            # Not ru_maxrss, which a process inherits from its parent.
            lines = pathlib.Path("/proc/self/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])

        document = annotated_slide()
        before = peak_kib()
        snapshot = Snapshot("slide", None, *document.snapshot(), classes=document.classes.snapshot)
        files = export_labels(sys.argv[1], snapshot, ("geojson", "coco", "ome-zarr"))
        for file in files[:3]:
            objects = import_objects(file)
            assert objects.hw == (40_000, 40_000), objects.hw
            found = {(one.number, one.mask.row, one.mask.col, one.mask.area_px) for one in objects.items}
            masks = [document.pixels(one) for one in document.objects]
            assert found == {(k, m.row, m.col, m.area_px) for k, m in zip(document.objects, masks)}, file
        grown = (peak_kib() - before) / 1024
        # The instance map alone would be 6,400 MB.
        assert grown < 300, grown
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    root = zarr.open_group(tmp_path / "slide_objects.ome.zarr", mode="r")
    assert root["labels/instances/0"].nchunks_initialized < 60
