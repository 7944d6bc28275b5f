"""The rule for label maps, compared with what tifffile and scikit-image read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import skimage.io
import tifffile
from PIL import Image

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import ImageError
from napari_sampath.formats import ImportChoiceError, ReadOptions, import_labels
from napari_sampath.formats.maps.pixels import write_palette
from napari_sampath.rasters import read_labels, read_raster
from support.sample_images import check_sentence

LABELS = np.zeros((32, 48), dtype=np.uint8)
LABELS[3:12, 4:20], LABELS[20:30, 30:44] = 1, 3


def check_labels(path: Path, expected: npt.NDArray[Any], hw: tuple[int, int] | None = None) -> None:
    values = read_labels(path, hw).values
    assert values.ndim == 2
    assert values.dtype.kind in "bui"
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int16, np.uint32, np.int32, np.float32])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_values_are_those_of_tifffile(
    tmp_path: Path, dtype: npt.DTypeLike, photometric: str, byteorder: str
) -> None:
    path = tmp_path / "a.tif"
    values = LABELS.astype(dtype)
    tifffile.imwrite(path, values, photometric=photometric, byteorder=byteorder, compression="zlib")
    check_labels(path, tifffile.imread(path))
    check_labels(path, values)
    if photometric == "minisblack":
        check_labels(path, skimage.io.imread(path))


def test_a_bool_tiff_of_tifffile_is_not_inverted(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS > 0)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.pages.first.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    check_labels(tmp_path / "a.tif", LABELS > 0)


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits", "raw"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_fax_tiffs_give_the_stored_bits(tmp_path: Path, compression: str, white_is_zero: bool) -> None:
    path = tmp_path / "a.tif"
    tags = {262: 0} if white_is_zero else {}
    Image.fromarray(LABELS > 0).save(path, compression=compression, tiffinfo=tags)
    with tifffile.TiffFile(path) as tiff:
        expected = tiff.asarray()
    check_labels(path, expected)


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_tiffs_give_indices(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.tif"
    values = LABELS.astype(f"uint{bits}")
    colours = np.random.default_rng(0).integers(0, 2**16, (3, 2**bits)).astype(np.uint16)
    tifffile.imwrite(path, values, photometric="palette", colormap=colours)
    check_labels(path, values)
    palette = read_labels(path).palette
    if bits == 8:
        np.testing.assert_array_equal(palette, (colours >> 8).T)


@pytest.mark.parametrize("bits", [2, 4, 6, 12])
def test_values_of_few_bits_are_not_scaled(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.tif"
    write_packed(path, LABELS, bits)
    check_labels(path, LABELS)


def write_packed(
    path: Path, values: npt.NDArray[np.uint8], bits: int, photometric: str = "minisblack"
) -> None:
    """Write an uncompressed grey TIFF file of 1..16 bits per sample, each row padded to whole bytes."""
    rows = [
        np.packbits(
            np.concatenate(
                [[value >> shift & 1 for shift in range(bits - 1, -1, -1)] for value in row.tolist()]
            )
        ).tobytes()
        for row in values
    ]
    dtype = np.uint8 if bits <= 8 else np.uint16
    tifffile.imwrite(
        path,
        iter([b"".join(rows)]),
        shape=values.shape,
        dtype=dtype,
        bitspersample=bits,
        photometric=photometric,
        rowsperstrip=len(values),
    )


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif"])
def test_files_of_pillow(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "gif" and mode not in ("L", "LA"):
        pytest.skip("Pillow changes the values when it writes a GIF file")
    if mode == "I;16":
        image, expected = Image.fromarray(LABELS.astype(np.uint16) * 1000), LABELS.astype(int) * 1000
    elif mode == "P":
        image, expected = Image.fromarray(LABELS), LABELS
        image.putpalette([0, 0, 0, 200, 0, 0, 0, 9, 200, 0, 0, 255])
    elif mode == "1":
        image, expected = Image.fromarray(LABELS > 0), LABELS > 0
    else:
        image, expected = Image.fromarray(LABELS).convert(mode), LABELS
    try:
        image.save(path)
    except OSError:
        pytest.skip(f"Pillow does not write {mode} as {suffix}")
    with Image.open(path) as reloaded:
        stored_mode = reloaded.mode
        shown = np.asarray(reloaded.convert("L"))
    if stored_mode == "P" and mode == "1":
        expected = shown > 0
    elif stored_mode == "P" and mode != "P":
        expected = shown
    check_labels(path, expected)


def test_a_palette_of_greys_in_another_order_gives_the_greys(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    inverted = Image.fromarray((LABELS == 0).astype(np.uint8))  # index 0 are the objects
    inverted.putpalette([255, 255, 255, 0, 0, 0])
    inverted.save(path)
    check_labels(path, LABELS > 0)
    grey = Image.fromarray(np.array([[0, 1], [2, 2]], dtype=np.uint8).repeat(20, 0).repeat(20, 1))
    grey.putpalette([3, 3, 3, 0, 0, 0, 7, 7, 7])
    grey.save(path)
    check_labels(path, np.array([[3, 0], [7, 7]]).repeat(20, 0).repeat(20, 1))


@pytest.mark.parametrize(
    "colors", [[(255, 255, 255)], [(200, 200, 200), (90, 90, 90)], [(0, 0, 0), (1, 200, 3)]]
)
def test_exports_keep_their_numbers_whatever_the_colours(
    tmp_path: Path, colors: list[tuple[int, int, int]]
) -> None:
    values = np.minimum(LABELS, len(colors))
    classes = [ClassInfo(number, f"class {number}", color) for number, color in enumerate(colors, start=1)]
    with (tmp_path / "a.png").open("wb") as stream:
        write_palette(stream, values, classes)
    check_labels(tmp_path / "a.png", values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("planar", [False, True])
def test_equal_channels_are_one(tmp_path: Path, dtype: npt.DTypeLike, channels: int, planar: bool) -> None:
    path = tmp_path / "a.tif"
    values = np.repeat(LABELS.astype(dtype)[..., None], channels, axis=2)
    if channels == 4:
        values[..., 3] = np.iinfo(dtype).max
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    stored = np.moveaxis(values, -1, 0) if planar else values
    tifffile.imwrite(
        path, stored, photometric="rgb", planarconfig="separate" if planar else "contig", **extra
    )
    check_labels(path, LABELS)


def test_all_bits_of_a_deep_png_with_channels_are_read(tmp_path: Path) -> None:
    import imagecodecs

    values = LABELS.astype(np.uint16) * 300 + 2
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.repeat(values[..., None], 3, axis=2)))
    check_labels(tmp_path / "a.png", values)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64, ">u2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_numpy(tmp_path: Path, dtype: npt.DTypeLike, order: str) -> None:
    values = np.asarray(LABELS.astype(dtype), order=order)
    np.save(tmp_path / "a.npy", values)
    check_labels(tmp_path / "a.npy", values)
    check_labels(tmp_path / "a.npy", values, LABELS.shape)
    np.save(tmp_path / "plane.npy", values[None])
    check_labels(tmp_path / "plane.npy", values)


def test_objects_in_an_array_file_are_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a_seg.npy", np.array({"masks": LABELS}), allow_pickle=True)
    with pytest.raises(ImageError, match="holds Python objects"):
        read_labels(tmp_path / "a_seg.npy")


def refused(
    tmp_path: Path, values: npt.NDArray[Any], match: str, suffix: str = "tif", **options: Any
) -> None:
    path = tmp_path / f"refused.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, values, **options)
    else:
        Image.fromarray(values).save(path, **options)
    with pytest.raises(ImageError, match=match) as caught:
        read_labels(path)
    check_sentence(str(caught.value), "refused")


def test_files_that_are_no_label_maps_are_refused(tmp_path: Path) -> None:
    colours = np.stack([LABELS, LABELS, 255 - LABELS], axis=-1)
    refused(tmp_path, colours, "colours, not labels", photometric="rgb")
    refused(tmp_path, colours, "colours, not labels", "png")
    refused(tmp_path, LABELS / 4, "not whole numbers", photometric="minisblack")
    refused(tmp_path, np.where(LABELS > 0, np.nan, 0), "not whole numbers", photometric="minisblack")
    refused(tmp_path, LABELS.astype(np.int16) - 1, "must not be negative", photometric="minisblack")
    refused(tmp_path, LABELS.astype(np.uint32) << 30, "must be from 0 to", photometric="minisblack")
    refused(tmp_path, LABELS, "JPEG file with lossy", "jpg")
    refused(
        tmp_path,
        LABELS,
        "TIFF file whose compression may have altered",
        photometric="minisblack",
        compression="jpeg",
    )
    refused(tmp_path, LABELS, "compression may have altered", "webp")
    opacity = np.stack([np.full_like(LABELS, 255), LABELS], axis=-1)
    refused(tmp_path, opacity, "only in its opacity", "png")
    for planes in (2, 5):
        refused(tmp_path, np.stack([LABELS] * planes), "is a stack of", photometric="minisblack")


def test_sizes_are_compared_before_the_pixels_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "labels.png"
    Image.fromarray(LABELS).save(path)
    path.write_bytes(path.read_bytes()[:60])  # Decoding would fail.
    with pytest.raises(ImageError, match=r"is 48 x 32 px, but its image is 50 x 40 px") as caught:
        read_labels(path, (40, 50))
    check_sentence(str(caught.value), "labels")


def png_of_bits(values: npt.NDArray[np.uint8], depth: int, palette: bytes = b"") -> bytes:
    """A grey PNG of few bits, or one with a short palette, which Pillow reads but does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    per_byte = 8 // depth
    packed = sum(values[:, k::per_byte] << (8 - depth * (k + 1)) for k in range(per_byte)).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, 3 if palette else 0, 0, 0, 0)
    colours = chunk(b"PLTE", palette) if palette else b""
    parts = chunk(b"IHDR", header) + colours + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_grey_values_that_readers_scale_are_said(tmp_path: Path) -> None:
    values = np.zeros((20, 24), np.uint8)
    values[2:8, 3:9], values[10:15, 12:20] = 1, 2
    files = {
        "two.png": (png_of_bits(values, 2), 85, "from 0 to 3 were scaled to 0 to 255"),
        "four.png": (png_of_bits(values, 4), 17, "from 0 to 15 were scaled to 0 to 255"),
        "a.pgm": (b"P5\n24 20\n5\n" + values.tobytes(), 51, "from 0 to 5 were scaled to 0 to 255"),
    }
    for name, (content, factor, remark) in files.items():
        (tmp_path / name).write_bytes(content)
        raster = read_labels(tmp_path / name)
        np.testing.assert_array_equal(raster.values, values * np.uint8(factor))
        np.testing.assert_array_equal(raster.values, skimage.io.imread(tmp_path / name))
        assert remark in " ".join(raster.remarks)
    Image.fromarray(values).save(tmp_path / "b.pgm")
    raster = read_labels(tmp_path / "b.pgm")
    np.testing.assert_array_equal(raster.values, values)
    assert raster.remarks == ()
    assert import_labels(tmp_path / "b.pgm").class_map.max() == 2


@pytest.mark.parametrize(
    ("axes", "planes"),
    [("ZYX", "5 slices"), ("TYX", "5 time points"), ("TZYX", "2 time points and 3 slices"), ("", "5 planes")],
)
def test_stacks_are_refused_with_what_they_hold(tmp_path: Path, axes: str, planes: str) -> None:
    shape = (2, 3, 20, 24) if len(axes) == 4 else (5, 20, 24)
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros(shape, np.uint8),
        photometric="minisblack",
        metadata={"axes": axes} if axes else {},
    )
    for read in (read_raster, read_labels):
        with pytest.raises(ImageError, match=f"is a stack of {planes} .*; save the one that you need"):
            read(tmp_path / "a.tif")


def test_lossless_jpeg_2000_is_not_said_to_be_lossy(tmp_path: Path) -> None:
    Image.fromarray(np.ones((20, 24), np.uint8)).save(tmp_path / "a.jp2", irreversible=False)
    with pytest.raises(ImageError, match="JPEG2000 file whose compression may have altered label values"):
        import_labels(tmp_path / "a.jp2")


@pytest.mark.parametrize(("suffix", "options"), [("jpg", {"quality": 90}), ("webp", {"quality": 80})])
def test_a_threshold_reads_masks_with_lossy_compression(
    tmp_path: Path, suffix: str, options: dict[str, int]
) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[8:32, 16:40] = 255
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(mask).convert("RGB").save(path, **options)
    with pytest.raises(
        ImportChoiceError, match=r"compression.* label values; export a PNG .* add --threshold 12[78]"
    ):
        import_labels(path)
    labels = import_labels(path, options=ReadOptions(threshold=128))
    np.testing.assert_array_equal(labels.class_map, mask > 0)


@pytest.mark.parametrize("palette", [[0, 0, 0, 255, 255, 255], [0, 0, 0, 9, 9, 9, 255, 255, 255]])
def test_labels_beyond_a_short_palette_do_not_vanish(tmp_path: Path, palette: list[int]) -> None:
    values = np.zeros((20, 24), np.uint8)
    values[2:8, 2:8] = 1
    values[10:15, 10:15] = 7
    (tmp_path / "a.png").write_bytes(png_of_bits(values, 8, bytes(palette)))
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.mode == "P"
        np.testing.assert_array_equal(np.asarray(stored), values)
    check_labels(tmp_path / "a.png", values)
