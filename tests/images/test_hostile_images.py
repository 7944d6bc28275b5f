"""Hostile and damaged image files: one sentence, in little time and memory, and no other program or file."""

from __future__ import annotations

import os
import resource
import struct
import subprocess
import sys
import textwrap
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_sampath.errors import ImageError
from napari_sampath.images import read
from napari_sampath.rasters import read_labels, read_raster, read_size
from support.paths import CASES
from support.sample_images import RGB, check_sentence

pytestmark = pytest.mark.timeout(60)

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n{ } loop\n%%EOF\n"


def refused(path: Path, match: str | None = None) -> None:
    """Check that no function reads a file, and that each says so in one sentence within 5 s of the processor."""
    for function in (read, read_labels):
        start = time.process_time()
        with pytest.raises(ImageError, match=match) as caught:
            function(path)
        assert time.process_time() - start < 5
        check_sentence(str(caught.value), path.stem)


@pytest.mark.skipif(os.name == "nt", reason="the program to start is a script of a shell")
@pytest.mark.parametrize("name", ["a.png", "a.eps", "a.tif", "a.jpg"])
def test_no_file_starts_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for program in ("gs", "gswin32c", "gswin64c", "dvips", "convert", "rawtoppm"):
        script = tmp_path / "bin" / program
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\ntouch '{tmp_path / 'started'}'\nexit 1\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / name).write_bytes(EPS)
    refused(tmp_path / name, "not a readable image")
    assert not (tmp_path / "started").exists()


def directory(entries: list[tuple[int, int, int, int]], following: int) -> bytes:
    """Encode a directory of a little-endian classic TIFF: (tag, type, count, value or offset)."""
    tags = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + tags + struct.pack("<I", following)


def grey_entries(width: int, height: int, **changes: int) -> list[tuple[int, int, int, int]]:
    values = {
        256: width,
        257: height,
        258: 8,
        259: 1,
        262: 1,
        273: 8,
        277: 1,
        278: height,
        279: width * height,
    }
    values |= {int(tag[1:]): value for tag, value in changes.items()}
    return [(tag, 4, 1, value) for tag, value in sorted(values.items())]


def write_tiff(path: Path, content: bytes) -> None:
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + content)


def test_a_loop_of_directories_ends(tmp_path: Path) -> None:
    entries = grey_entries(32, 32, t273=400)
    for start in (8, 8 + 2 + 12 * len(entries) + 4):
        one = directory(entries, 8 + 2 + 12 * len(entries) + 4)
        write_tiff(tmp_path / "loop.tif", one + directory(entries, start) + bytes(2000))
        refused(tmp_path / "loop.tif", "is damaged|loop")
    write_tiff(tmp_path / "sub.tif", directory([*entries, (330, 4, 1, 8)], 0) + bytes(2000))
    with pytest.raises(ImageError, match="Every pixel"):  # The subdirectory is the directory itself.
        read(tmp_path / "sub.tif")


def test_a_small_file_that_never_ended_is_refused() -> None:
    refused(CASES / "46-tiff-that-never-ends" / "tile_classes.tif")


def test_many_directories_are_refused(tmp_path: Path) -> None:
    one = 2 + 12 + 4
    content = b"".join(directory([(256, 4, 1, 1)], 8 + one * (number + 1)) for number in range(12_000))
    write_tiff(tmp_path / "many.tif", content + directory([(256, 4, 1, 1)], 0))
    refused(tmp_path / "many.tif", "holds more than 10,000 images")


def test_overlapping_directories_with_many_tags_are_refused(tmp_path: Path) -> None:
    """Each directory of 4,000 tags starts 12 bytes after the last one and shares its tags."""
    tags = directory([(60_000, 1, 1, 0)] * 5_000, 0)
    content = bytearray(tags)
    content[0:2] = struct.pack("<H", 4000)
    write_tiff(tmp_path / "tags.tif", bytes(content))
    refused(tmp_path / "tags.tif")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"t256": 60_000, "t257": 60_000}, "more than 1,073,741,824 px"),
        ({"t256": 30_000, "t257": 30_000, "t279": 100}, "damaged|truncated|real image|missing"),
        ({"t277": 60_000}, None),
        ({"t258": 60_000}, None),
        ({"t32997": 4_000_000}, None),
        ({"t278": 1, "t273": 0}, None),
        ({"t322": 2**31 - 1, "t323": 2**31 - 1, "t324": 8, "t325": 10}, None),
        ({"t273": 2**32 - 10}, None),
        ({"t259": 60_000}, None),
    ],
)
def test_impossible_sizes_are_refused(tmp_path: Path, changes: dict[str, int], match: str | None) -> None:
    write_tiff(tmp_path / "size.tif", directory(grey_entries(32, 32, **changes), 0) + bytes(2000))
    refused(tmp_path / "size.tif", match)


def test_lists_longer_than_the_file_are_refused(tmp_path: Path) -> None:
    entries = [entry for entry in grey_entries(32, 32) if entry[0] not in (273, 279)]
    entries += [(273, 4, 2**31, 8), (279, 4, 2**31, 8)]
    write_tiff(tmp_path / "list.tif", directory(sorted(entries), 0) + bytes(2000))
    refused(tmp_path / "list.tif")


@pytest.mark.parametrize(
    "text", ['SizeZ="9999999999"', 'SizeC="1" NumPlanes="900000000"', 'FirstZ="123456789"', "<!ENTITY a 'b'>"]
)
def test_ome_xml_with_impossible_sizes_is_refused(tmp_path: Path, text: str) -> None:
    ome = f'<OME xmlns="http://x"><Image ID="a"><Pixels DimensionOrder="XYCZT" {text}/></Image></OME>'
    tifffile.imwrite(tmp_path / "ome.tif", RGB, photometric="rgb", description=ome, metadata=None)
    refused(tmp_path / "ome.tif", "impossible sizes")


def test_files_that_ome_xml_refers_to_are_not_opened(tmp_path: Path) -> None:
    if os.name == "nt":
        pytest.skip("Windows has no named pipes in folders")
    os.mkfifo(tmp_path / "pipe.ome.tif")
    ome = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="P" DimensionOrder="XYCZT" Type="uint8" SizeX="60" SizeY="40" SizeC="3" SizeZ="1" SizeT="1">'
        '<Channel ID="C" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1">'
        '<UUID FileName="pipe.ome.tif">urn:uuid:2</UUID></TiffData></Pixels></Image></OME>'
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", RGB, photometric="rgb", description=ome, metadata=None)
    np.testing.assert_array_equal(read(tmp_path / "a.ome.tif").pixels, RGB)


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """Compress many zero bytes without holding them."""
    compressor, block = zlib.compressobj(9), bytes(2**20)
    parts = [compressor.compress(block) for _ in range(count // len(block))]
    return b"".join([*parts, compressor.compress(bytes(count % len(block))), compressor.flush()])


BOMBS = {
    "rgb.png": lambda: png(14_000, 14_000, 8, 2, zeros(14_000 * 42_001)),
    "one bit.png": lambda: png(32_000, 32_000, 1, 0, zeros(32_000 * 4_001)),
    "grey.png": lambda: png(22_000, 22_000, 8, 0, zeros(22_000 * 22_001)),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory limit is that of Linux")
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_need_little_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(BOMBS[name]())
    program = textwrap.dedent(
        """
        import sys
        from napari_sampath.errors import ImageError
        from napari_sampath.images import read
        from napari_sampath.rasters import read_labels
        for function in (read, read_labels):
            try:
                function(sys.argv[1])
            except ImageError as error:
                print(error)
        # Unlike `getrusage`, this does not count the process that started this one.
        print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
        """
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=30, check=True
    )
    *sentences, peak_kib = run.stdout.splitlines()
    assert len(sentences) >= 1, "the image is refused"
    check_sentence(sentences[0], "")
    assert int(peak_kib) < 1_000_000, f"{peak_kib} KiB"


def test_a_deflate_bomb_in_a_tiff_stops_at_the_size_of_the_image(tmp_path: Path) -> None:
    content = zeros(300_000_000)
    entries = grey_entries(64, 64, t259=8, t273=8 + 2 + 12 * 9 + 4, t279=len(content))
    write_tiff(tmp_path / "deflate.tif", directory(entries, 0) + content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError):
        read(tmp_path / "deflate.tif")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "cannot be opened .it is a pipe, a socket or a device")
    for function in (read, read_labels, read_size):
        with pytest.raises(ImageError, match="a device"):
            function(Path("/dev/zero"))


@pytest.mark.parametrize("shape", [(2**40, 2**40), (-5, 7), (10**6,), (3, 0), (2, 3, 4, 5)])
def test_impossible_shapes_of_arrays_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(100)
    (tmp_path / "array.npy").write_bytes(content)
    refused(tmp_path / "array.npy")


@pytest.mark.parametrize(
    "part", ["(9**9, 9)", "(7, 7", "(7, 7), 'x': 1", "(7, '7')", "(7, 7), 'descr': '|q9'"]
)
def test_a_damaged_header_of_an_array_is_named_in_plain_words(tmp_path: Path, part: str) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {part}, }}".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(100)
    (tmp_path / "array.npy").write_bytes(content)
    refused(tmp_path / "array.npy", "its header is damaged")


def test_formats_outside_the_list_are_refused(tmp_path: Path) -> None:
    for suffix in ("ico", "pcx", "tga", "sgi", "pdf", "eps"):
        Image.fromarray(RGB).save(tmp_path / f"a.{suffix}")
        refused(tmp_path / f"a.{suffix}", "not a readable image")


def test_the_header_of_a_numpy_file_is_not_nested(tmp_path: Path) -> None:
    for brackets in (b"{", b"[\n", b"("):
        header = brackets * (9_000 // len(brackets))
        content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(ImageError, match="its header is nested"):
            read_raster(tmp_path / "a.npy")
