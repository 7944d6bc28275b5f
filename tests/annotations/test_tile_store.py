"""Tiles in the temporary file beside the journal: read by many threads, on a full disk, after undo and reopening."""

from __future__ import annotations

import contextlib
import gc
import os
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from napari_sampath.annotations import Add, AnnotatedObject, Document, Edits, Erase, Header, Journal, TiledMap
from napari_sampath.annotations.masks import tile_store
from napari_sampath.annotations.masks.tile_store import Stored, TileStore
from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.errors import StorageError
from napari_sampath.session.editor import Editor

SLIDE_HW = (12_000, 9_000)
CLASSES = (ClassInfo(1, "gland", (0, 158, 115)),)
HEADER = Header("slide", SLIDE_HW, "ab" * 32, CLASSES, kind="slide", schema=2)


def content(number: int) -> bytes:
    """Return 1 to 6,000 bytes that belong to a number."""
    return bytes([number % 251]) * (number * 37 % 6000 + 1)


def test_memory_stays_below_the_limit_and_space_of_the_file_is_used_again(tmp_path: Path) -> None:
    store = TileStore(tmp_path, memory_bytes=10_000)
    entries: dict[int, Stored] = {}

    def check(number: int) -> bool:
        return entries[number].read() == content(number)

    with ThreadPoolExecutor(8) as pool:
        for round_number in range(5):
            for number in range(100):
                entries[number] = store.add(content(number))
            assert all(pool.map(check, list(range(100)) * 3)), round_number
            assert store.in_memory_bytes <= 10_000
            if round_number == 1:
                size = store.file_bytes
    assert size > 100_000
    assert store.file_bytes < 1.2 * size, "replaced entries leave their space to others"
    assert any(entry.in_file for entry in entries.values())
    assert not all(entry.in_file for entry in entries.values())
    file = weakref.ref(store)
    entries.clear()
    del store
    gc.collect()
    assert file() is None
    assert not list(tmp_path.iterdir())


def test_threads_add_and_read_at_once(tmp_path: Path) -> None:
    store = TileStore(tmp_path, memory_bytes=2000)

    def work(start: int) -> bool:
        entries = [store.add(content(start + number)) for number in range(50)]
        return all(entry.read() == content(start + number) for number, entry in enumerate(entries))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(0, 1600, 50)))


@contextlib.contextmanager
def small_files() -> Iterator[None]:
    """Let the system refuse to write beyond 3,200 bytes of a file, after a part has been written."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3200, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("kind", ["little space", "missing folder", "write error"])
def test_tiles_that_cannot_be_written_stay_in_memory_and_one_sentence_says_so(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone" if kind == "missing folder" else tmp_path
    store = TileStore(folder, memory_bytes=1000)
    entries = [store.add(content(0))]
    with small_files() if kind == "write error" else contextlib.nullcontext():
        if kind == "little space":
            monkeypatch.setattr(tile_store, "SPARE_BYTES", 2**62)
        entries += [store.add(content(number)) for number in range(1, 50)]
    text = store.take_note()
    assert str(folder) in text
    assert "stay in memory" in text
    assert text.endswith("; check the folder and the free space of its disk.")
    monkeypatch.undo()
    folder.mkdir(exist_ok=True)
    entries += [store.add(content(number)) for number in range(50, 60)]
    assert [entry.read() for entry in entries] == [content(number) for number in range(60)]
    assert not entries[40].in_file
    assert entries[55].in_file, "the file is used as soon as it can be written"
    assert store.take_note() == ""


def test_a_file_that_cannot_be_read_any_more_is_reported(tmp_path: Path) -> None:
    store = TileStore(tmp_path, memory_bytes=0)
    tiled = TiledMap((300, 600), np.int32, 1, store)
    tiled.fill((0, 0, 9, 9), 3)
    tiled.fill((0, 300, 9, 309), 4)
    os.ftruncate(store._file.fileno(), 0)
    with pytest.raises(StorageError, match="all steps are saved in the journal") as caught:
        tiled.window((0, 0, 20, 20))
    assert str(tmp_path) in str(caught.value)
    assert tiled.window((0, 300, 9, 301)).all()


def disc(row: int, col: int, step: int = 64) -> LocalMask:
    rows, cols = np.mgrid[:40, :40]
    return LocalMask(row, col, np.hypot(rows - 19.5, cols - 19.5) < 20, step)


def annotate(edits: Edits | Editor) -> None:
    for number in range(1, 3):
        edits.do(Add(((AnnotatedObject(number, 1, "brush"), disc(3008 * number, 2048 * number)),)))
    edits.do(Erase(disc(7040, 6016, 16)))


def overview(document: Document) -> np.ndarray:
    return document.instance_map.read((0, 0, *SLIDE_HW), 32)


def test_a_document_is_the_same_in_memory_and_in_a_file(tmp_path: Path) -> None:
    plain, stored = Edits(Document(SLIDE_HW, CLASSES)), None
    annotate(plain)
    path = tmp_path / "a.jsonl"
    for is_new in (True, False):
        document = Document(SLIDE_HW)
        document.tile_store.memory_bytes = 0
        stored = Edits(document, Journal(path, HEADER))
        if is_new:
            annotate(stored)
        np.testing.assert_array_equal(overview(document), overview(plain.document))
        assert document.tile_store.file_bytes > 50_000
        assert document.tile_store.in_memory_bytes == 0
        assert stored.history.nbytes == plain.history.nbytes, "undo does not depend on where tiles are"
        fork = document.fork()
        with ThreadPoolExecutor(2) as pool:
            read = pool.submit(overview, fork)
            before = overview(document)
            assert stored.undo() is not None
            np.testing.assert_array_equal(read.result(), before)
        assert (overview(document) != before).any()
        assert stored.redo() is not None
        np.testing.assert_array_equal(overview(document), before)
        assert stored.journal is not None
        stored.journal.close()
    names = {file.name for file in tmp_path.iterdir()}
    assert names <= {"a.jsonl", "a.jsonl.lock"} or os.name == "nt"


def test_a_full_disk_is_said_once_and_the_file_goes_with_the_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = Editor(SLIDE_HW, CLASSES, Journal(tmp_path / "a.jsonl", HEADER))
    store, said = editor.document.tile_store, []
    editor.message.connect(said.append)
    store.memory_bytes = 0
    with monkeypatch.context() as patch:
        patch.setattr(tile_store, "SPARE_BYTES", 2**62)
        annotate(editor)
    assert [text for text in said if "stay in memory" in text] == said
    assert len(said) == 1
    editor.do(Erase(disc(3008, 2048)))
    assert store.file_bytes > 0
    alive = weakref.ref(store)
    del store
    editor.close()
    del editor
    gc.collect()
    assert alive() is None
