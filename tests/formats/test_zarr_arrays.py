"""Arrays of Zarr 2 and 3 that other programs wrote, and damaged or hostile ones."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numcodecs
import numpy as np
import pytest
import zarr
import zarr.codecs as v3

from napari_sampath.errors import ImageError, SampathError
from napari_sampath.formats import import_labels, import_objects
from napari_sampath.rasters.zarr_arrays import Node, ZarrArray, array_info
from support.label_maps import CLASS_MAP, check_sentence, export

INSTANCE_MAP = np.zeros((12, 15), np.int32)
INSTANCE_MAP[1:9, 2:6], INSTANCE_MAP[8:11, 8:14], INSTANCE_MAP[0, 14] = 5, 300, 7


def foreign(
    folder: Path, version: int = 3, values: Any = INSTANCE_MAP, axes: str = "yx", **options: Any
) -> Path:
    """Write a label image "cells" as the zarr package does, and return its array's folder."""
    root = zarr.open_group(folder, mode="w", zarr_format=version)
    label = root.create_group("labels").create_group("cells")
    multiscale = {"axes": [{"name": name} for name in axes], "datasets": [{"path": "0"}]}
    content = {"multiscales": [multiscale], "image-label": {}}
    listed = {"labels": ["cells"]}
    root["labels"].attrs.update(listed if version == 2 else {"ome": listed})
    label.attrs.update(content if version == 2 else {"ome": content})
    shape = values.shape
    array = label.create_array("0", shape=shape, dtype=values.dtype, **{"chunks": (7, 9)} | options)
    array[:] = values
    return folder / "labels" / "cells" / "0"


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3")
@pytest.mark.parametrize(
    ("version", "options"),
    [
        *[
            (2, {"compressors": codec})
            for codec in (
                None,
                numcodecs.Zlib(),
                numcodecs.GZip(),
                numcodecs.BZ2(),
                numcodecs.LZMA(),
                numcodecs.LZ4(),
                numcodecs.Zstd(),
                numcodecs.Blosc("lz4", shuffle=2),
                numcodecs.Blosc("zlib"),
            )
        ],
        (2, {"order": "F"}),
        (2, {"chunk_key_encoding": {"name": "v2", "separator": "/"}}),
        *[
            (3, {"compressors": codec})
            for codec in (
                None,
                v3.GzipCodec(),
                v3.ZstdCodec(checksum=True),
                v3.BloscCodec(cname="zstd"),
                [v3.ZstdCodec(), v3.Crc32cCodec()],
                [v3.Crc32cCodec(), v3.GzipCodec()],
                [v3.GzipCodec(), v3.ZstdCodec()],
            )
        ],
        (3, {"serializer": v3.BytesCodec(endian="big")}),
        (3, {"filters": [v3.TransposeCodec(order=(1, 0))]}),
        (3, {"chunk_key_encoding": {"name": "default", "separator": "."}}),
        (3, {"chunk_key_encoding": {"name": "v2", "separator": "."}}),
        (3, {"chunks": (200, 300)}),
        (3, {"chunks": (3, 5), "shards": (6, 15)}),
        (3, {"chunks": (4, 5), "shards": {"shape": (12, 10), "index_location": "start"}}),
        (3, {"fill_value": 3}),
    ],
)
@pytest.mark.parametrize("dtype", ["uint16", "int64"])
def test_arrays_that_the_zarr_package_wrote(
    tmp_path: Path, version: int, options: dict[str, Any], dtype: str
) -> None:
    foreign(tmp_path / "a.zarr", version, INSTANCE_MAP.astype(dtype), **options)
    labels = import_labels(tmp_path / "a.zarr")
    np.testing.assert_array_equal(labels.instance_map, INSTANCE_MAP)
    np.testing.assert_array_equal(labels.class_map, INSTANCE_MAP > 0)
    assert len(import_objects(tmp_path / "a.zarr").items) == len(np.unique(INSTANCE_MAP)) - 1


@pytest.mark.parametrize("axes", ["tczyx", "zyx", "yxc", "cxy"])
def test_axes_of_length_1(tmp_path: Path, axes: str) -> None:
    values = INSTANCE_MAP.T if axes.index("x") < axes.index("y") else INSTANCE_MAP
    shape = [1 if name not in "yx" else INSTANCE_MAP.shape["yx".index(name)] for name in axes]
    chunks = tuple(1 if name not in "yx" else 9 for name in axes)
    foreign(tmp_path / "a.zarr", 3, values.reshape(shape), axes, chunks=chunks)
    np.testing.assert_array_equal(import_labels(tmp_path / "a.zarr").instance_map, INSTANCE_MAP)


def test_a_sparse_map_costs_what_is_stored(tmp_path: Path) -> None:
    values = np.zeros((64, 64), np.uint16)
    values[5, 6] = 9
    array = foreign(tmp_path / "a.zarr", values=values, chunks=(64, 64))
    metadata = json.loads((array / "zarr.json").read_text())
    (array / "zarr.json").write_text(json.dumps(metadata | {"shape": [2**22, 2**22]}))
    objects = import_objects(tmp_path / "a.zarr")
    assert objects.hw == (2**22, 2**22)
    assert [
        (item.number, item.mask.row, item.mask.col, item.mask.bitmap.sum()) for item in objects.items
    ] == [(9, 5, 6, 1)]


def refused(path: Path, match: str | None = None) -> None:
    """Check that an import ends with one sentence."""
    for read in (import_labels, import_objects):
        with pytest.raises(SampathError, match=match) as caught:
            read(path)
        check_sentence(str(caught.value))


def edited(folder: Path, change: Callable[[dict[str, Any]], Any], version: int = 3) -> Path:
    """Write a label image and change the metadata of its array."""
    file = foreign(folder / "a.zarr", version) / ("zarr.json" if version == 3 else ".zarray")
    content = json.loads(file.read_text())
    file.write_text(json.dumps(change(content) or content))
    return folder / "a.zarr"


CODECS_V2 = [
    "pickle", "json2", "msgpack2", "vlen-utf8", "vlen-bytes", "vlen-array", "delta", "fixedscaleoffset",
    "zfpy", "pcodec", "categorize", "astype", "/", "", 5, None, [],
]  # fmt: skip


@pytest.mark.parametrize("place", ["compressor", "filters"])
@pytest.mark.parametrize("name", CODECS_V2, ids=repr)
def test_codecs_of_version_2_are_on_a_list(tmp_path: Path, place: str, name: Any) -> None:
    codec = {"id": name}
    path = edited(tmp_path, lambda content: content | {place: codec if place == "compressor" else [codec]}, 2)
    refused(path, "compressed with|has filters")


@pytest.mark.parametrize(
    "name", ["numcodecs.pickle", "pickle", "vlen-utf8", "numcodecs.json2", "../x", 5, None, {}], ids=repr
)
@pytest.mark.parametrize("place", [0, 1])
def test_codecs_of_version_3_are_on_a_list(tmp_path: Path, place: int, name: Any) -> None:
    def change(content: dict[str, Any]) -> None:
        content["codecs"].insert(place, {"name": name, "configuration": {}})

    refused(edited(tmp_path, change), "compressed with|not those of Zarr 3")


def test_a_pickle_in_a_chunk_is_not_run(tmp_path: Path) -> None:
    class Canary:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "ran"),))

    path = edited(tmp_path, lambda content: content | {"compressor": None, "filters": [{"id": "pickle"}]}, 2)
    for chunk in (path / "labels" / "cells" / "0").glob("[0-9]*"):
        chunk.write_bytes(numcodecs.pickles.pickle.dumps(Canary()))
    refused(path, "has filters")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [10**9, 10**9]}, {"shape": [-1, 5]}, {"shape": []}, {"shape": [5]}, {"shape": "5"},
        {"shape": [5, 1e300]}, {"shape": [True, True]}, {"shape": [1] * 100}, {"shape": None}, {"shape": [3, 3, 3]},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 5]}}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**6, 80]}}},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2**24, 2**24]}}},
        {"chunk_grid": {"name": "regular"}}, {"chunk_grid": 5}, {"chunk_grid": {"name": "x"}},
        {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "../"}}},
        {"chunk_key_encoding": {"name": []}}, {"codecs": []}, {"codecs": None}, {"codecs": [[[]]]},
        {"data_type": "float32"}, {"data_type": "O"}, {"data_type": {"name": "struct"}}, {"data_type": None},
        {"fill_value": 2**40}, {"fill_value": "NaN"}, {"fill_value": [1]}, {"fill_value": 0.5},
        {"zarr_format": 4}, {"zarr_format": [[]]}, {"node_type": "group"}, {"storage_transformers": [1]},
        {"codecs": [{"name": "sharding_indexed", "configuration": {"chunk_shape": [2, 5]}}]},
        {"codecs": [{"name": "transpose", "configuration": {"order": [0, 0]}}, {"name": "bytes"}]},
    ],
    ids=str,
)  # fmt: skip
def test_damaged_metadata_of_arrays(tmp_path: Path, change: dict[str, Any]) -> None:
    refused(edited(tmp_path, lambda content: content | change))


BIG = 2**33
BOMBS: dict[str, Callable[[], tuple[Any, bytes]]] = {
    "gzip": lambda: (v3.GzipCodec(), gzip.compress(bytes(2**28))),
    "zstd": lambda: (v3.ZstdCodec(), imagecodecs.zstd_encode(bytes(2**28))),
    "blosc": lambda: (v3.BloscCodec(), imagecodecs.blosc_encode(bytes(2**28))),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_chunk_larger_than_it_may_be_is_refused(tmp_path: Path, name: str) -> None:
    codec, data = BOMBS[name]()
    array = foreign(tmp_path / "a.zarr", compressors=codec, chunks=(64, 80))
    (array / "c" / "0" / "0").write_bytes(data)
    refused(tmp_path / "a.zarr", "is damaged or cannot be read")


@pytest.mark.parametrize(
    "compress", [bz2.compress, lzma.compress, zlib.compress, lambda data: BIG.to_bytes(4 + 4, "little")]
)
def test_a_chunk_of_version_2_larger_than_it_may_be_is_refused(
    tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    name = {bz2.compress: "bz2", lzma.compress: "lzma", zlib.compress: "zlib"}.get(compress, "lz4")
    path = edited(tmp_path, lambda content: content | {"compressor": {"id": name}}, 2)
    data = compress(bytes(2**26))
    for chunk in (path / "labels" / "cells" / "0").glob("[0-9]*"):
        chunk.write_bytes(data)
    refused(path, "is damaged or cannot be read")


@pytest.mark.parametrize("content", [b"", b"x", b"\x00" * 99, b"\xff" * 500])
@pytest.mark.parametrize("shards", [None, (14, 18)])
def test_damaged_chunks(tmp_path: Path, content: bytes, shards: Any) -> None:
    array = foreign(tmp_path / "a.zarr", shards=shards)
    (array / "c" / "0" / "0").write_bytes(content)
    refused(tmp_path / "a.zarr", "is damaged or cannot be read")


@pytest.mark.parametrize("value", [-3, 2**40])
def test_values_that_are_no_labels(tmp_path: Path, value: int) -> None:
    values = INSTANCE_MAP.astype(np.int64)
    values[0, 0] = value
    foreign(tmp_path / "a.zarr", values=values)
    refused(tmp_path / "a.zarr", f"contains {value}")


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_chunks_are_regular_files_of_the_folder(tmp_path: Path, kind: str) -> None:
    array = foreign(tmp_path / "a.zarr")
    chunk, outside = array / "c" / "0" / "0", tmp_path / "outside"
    chunk.rename(outside)
    {"link": lambda: chunk.symlink_to(outside), "folder": chunk.mkdir, "pipe": lambda: os.mkfifo(chunk)}[
        kind
    ]()
    refused(tmp_path / "a.zarr", "is not a regular file")


@pytest.mark.parametrize(
    "name", ["labels", "labels/cells", "labels/cells/0", "labels/cells/0/c/0", "labels/zarr.json"]
)
def test_links_are_not_followed(tmp_path: Path, name: str) -> None:
    foreign(tmp_path / "a.zarr")
    target = tmp_path / "a.zarr" / name
    target.rename(tmp_path / "outside")
    target.symlink_to(tmp_path / "outside")
    refused(tmp_path / "a.zarr", "is a link")


def test_links_are_not_followed_when_files_are_listed(tmp_path: Path) -> None:
    array = foreign(tmp_path / "a.zarr")
    file = array / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"shape": [4096, 4096]}))
    (array / "c").rename(tmp_path / "outside")
    (array / "c").symlink_to(tmp_path / "outside")
    refused(tmp_path / "a.zarr", "is a link")


def test_a_part_of_a_chunk_does_not_keep_the_chunk_in_memory(tmp_path: Path) -> None:
    array = foreign(tmp_path / "a.zarr", values=INSTANCE_MAP[None], axes="zyx", chunks=(64, 12, 15))
    node = Node.open(array)
    assert node is not None
    values = ZarrArray(array_info(node), (1, 2)).read_chunk((0, 0))
    assert values is not None
    np.testing.assert_array_equal(values, INSTANCE_MAP)
    assert values.base is None


@pytest.mark.parametrize(
    "path", ["../0", "/etc", "a/../../b", "", ".", "\ud800", "a\0b", "c:", "a\\b", 5, None, {}, [1]], ids=repr
)
@pytest.mark.parametrize("place", ["label", "level"])
def test_paths_stay_inside(tmp_path: Path, path: Any, place: str) -> None:
    foreign(tmp_path / "a.zarr")
    file = tmp_path / "a.zarr" / "labels" / ("zarr.json" if place == "label" else "cells/zarr.json")
    content = json.loads(file.read_text())
    if place == "label":
        content["attributes"]["ome"]["labels"] = [path]
    else:
        content["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = path
    file.write_text(json.dumps(content))
    refused(tmp_path / "a.zarr")


VALUES: list[Any] = [None, 3, 1e308, "x", [], {}, [[]], [None], [{}], [3], True]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize(
    "key", ["version", "multiscales", "image-label", "axes", "datasets", "colors", "properties"]
)
def test_damaged_metadata_of_labels_never_gives_another_error(tmp_path: Path, key: str, value: Any) -> None:
    export(tmp_path, formats=("ome-zarr",))
    (root,) = tmp_path.glob("*.ome.zarr")
    file = root / "labels" / "classes" / "zarr.json"
    content = json.loads(file.read_text())
    ome = content["attributes"]["ome"]
    owners = {"axes": ome["multiscales"][0], "datasets": ome["multiscales"][0]}
    owners |= {"colors": ome["image-label"], "properties": ome["image-label"]}
    owners.get(key, ome)[key] = value
    file.write_text(json.dumps(content))
    try:
        labels = import_labels(root)
    except ImageError as error:
        check_sentence(str(error))
    else:
        np.testing.assert_array_equal(labels.class_map, CLASS_MAP)


@pytest.mark.parametrize(
    "text",
    [pytest.param("[" * 100_000, id="nested"), "[]", "{", "", "\xff", "null", '{"zarr_format": 1e999}'],
)
@pytest.mark.parametrize("place", [".", "labels", "labels/cells", "labels/cells/0"])
def test_documents_that_are_no_metadata(tmp_path: Path, text: str, place: str) -> None:
    foreign(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / place / "zarr.json").write_text(text, encoding="latin-1")
    refused(tmp_path / "a.zarr")
