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
from napari_sampath.annotations.masks.tiled_map import MAP_TILE_PX
from napari_sampath.errors import ImageError
from support.slide import SIDE, annotated_slide

HW = (MAP_TILE_PX + 70, 2 * MAP_TILE_PX + 30)
spots = st.sampled_from([0, 1, MAP_TILE_PX - 1, MAP_TILE_PX, MAP_TILE_PX + 1, MAP_TILE_PX + 60])
spans = st.tuples(spots, st.integers(0, MAP_TILE_PX + 20))
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
