"""Saves that are killed at every change of the file system leave the old state or the new one, never a mixture."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_sampath.config import read_settings, settings_file
from napari_sampath.files import remove_leftovers, remove_staged, settle
from napari_sampath.formats import DatasetFolder, import_labels
from napari_sampath.heads import load_head
from napari_sampath.session import FolderQueue, Project
from support.paths import TESTS
from support.programs import single_saves
from support.programs.journal_victim import digest, open_session
from support.programs.saves import SCENARIOS, snapshot
from support.store_contract import assert_same, make_key, make_maps

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs fork and SIGKILL")


KilledFolders = Callable[..., Iterator[Path]]


@pytest.fixture(scope="module")
def killer() -> Iterator[subprocess.Popen[str]]:
    """The program that runs and kills saves."""
    program = TESTS / "support" / "programs" / "killed_saves.py"
    command = [sys.executable, str(program)]
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    ) as process:
        yield process
        process.communicate()


@pytest.fixture
def killed_folders(killer: subprocess.Popen[str], tmp_path: Path) -> KilledFolders:
    """Yield the folders of a scenario whose save was killed, and last that of the complete save."""

    def folders(name: str, changes: int = 5) -> Iterator[Path]:
        assert killer.stdin is not None
        assert killer.stdout is not None
        killer.stdin.write(f"{name}\t{tmp_path / 'runs'}\n")
        killer.stdin.flush()
        count = int(killer.stdout.readline())
        assert count >= changes
        yield from (tmp_path / "runs" / str(number) for number in range(count))

    return folders


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.suffix != ".lock" and path.name != ".lock"]


def save_again(name: str, folder: Path) -> None:
    """Save again, as the next run of the program does, and check that it cleans up."""
    SCENARIOS[name][1](folder)
    assert hidden(folder) == []


def test_files_and_folders_are_replaced_together(killed_folders: KilledFolders) -> None:
    names, contents = [], []
    for folder in killed_folders("files"):
        settle(folder)
        remove_staged([folder])
        assert hidden(folder) == []
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        names.append([path.relative_to(folder).as_posix() for path in files])
        contents.append({path.read_bytes() for path in files if path.stem not in ("before", "after")})
    old = ["0.txt", "1.txt", "2.txt", "before.txt", "folder/a.txt", "gone.txt"]
    new = ["0.txt", "1.txt", "2.txt", "3.txt", "after.txt", "folder/a.txt"]
    first = names.index(new)
    assert names == [old] * first + [new] * (len(names) - first)
    assert contents == [{b"1"}] * first + [{b"2"}] * (len(names) - first)
    assert 3 < first < len(names) - 5


def version_of(path: Path) -> int:
    """Return the version that a folder, or one of its files, holds completely."""
    labels = import_labels(path, "tile")
    version = int(np.max(labels.class_map))
    expected = snapshot(version)
    np.testing.assert_array_equal(labels.class_map, expected.class_map)
    np.testing.assert_array_equal(np.asarray(labels.instance_map) > 0, expected.class_map > 0)
    return version


@pytest.mark.slow
@pytest.mark.parametrize("name", ["export", "first export"])
def test_an_export_is_replaced_as_a_whole(killed_folders: KilledFolders, name: str) -> None:
    seen = []
    for number, folder in enumerate(killed_folders(name)):
        settle(folder)
        files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        names = [path for path in files if not any(part.startswith(".") for part in path.parts)]
        visible = [*(folder / path for path in names), *folder.glob("*.ome.zarr")]
        version = version_of(folder) if visible else 0
        maps = [path for path in visible if path.name in ("tile_classes.png", "tile_instances.tif")]
        assert {version_of(path) for path in maps} <= {version}
        outlines = [path for path in visible if path.name.endswith(("coco.json", "geojson", "ome.zarr"))]
        assert {version_of(path) for path in outlines[number % 4 :: 4]} <= {version}
        seen.append(version)
        if number % 3 == 0:
            save_again(name, folder)
            assert version_of(folder) == 2
    before = 1 if name == "export" else 0
    first = seen.index(2)
    assert seen == [before] * first + [2] * (len(seen) - first)
    assert 3 < first < len(seen) - 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sample", "renamed sample"])
def test_a_sample_is_replaced_as_a_whole(killed_folders: KilledFolders, name: str) -> None:
    seen = set()
    for folder in killed_folders(name):
        dataset = DatasetFolder.open(folder)
        stored = "renamed" if "renamed" in dataset.images else "tile"
        assert sorted(dataset.images) == sorted(["other", stored])
        item = dataset.read(stored)
        version = item.provenance["version"]
        expected = snapshot(version)
        np.testing.assert_array_equal(item.labels, expected.class_map)
        np.testing.assert_array_equal(item.instances, expected.instance_map)
        np.testing.assert_array_equal(item.annotated, expected.verified)
        assert dataset.images[stored].revision == version
        assert stored == ("renamed" if version == 2 and name == "renamed sample" else "tile")
        labels = sorted(path.name for path in (folder / "labels").glob("[!.]*"))
        assert labels == sorted(["other.png", f"{stored}.png"])
        seen.add(version)
        save_again(name, folder)
        if version == 2:
            (revision,) = [path.name for path in (folder / "history").iterdir() if path.name == stored]
            assert (folder / "history" / revision / "1" / "labels.png").is_file()
    assert seen == {1, 2}


def test_a_journal_is_compacted_as_a_whole(killed_folders: KilledFolders) -> None:
    states, sizes = set(), []
    for folder in killed_folders("journal"):
        sizes.append((folder / "a.jsonl").stat().st_size)
        session = open_session(folder / "a.jsonl")
        states.add(digest(session))
        assert session.notes == ()
        session.close()
        remove_leftovers(folder)
        assert hidden(folder) == []
    assert len(states) == 1
    assert sizes[-1] < sizes[0] / 3
    assert set(sizes) == {sizes[0], sizes[-1]}


def test_states_of_a_folder_are_replaced_as_a_whole(killed_folders: KilledFolders) -> None:
    seen = []
    for folder in killed_folders("states"):
        queue = FolderQueue(folder / "images", folder / "states")
        seen.append(queue.current.state)
        assert queue.current.uncertainty == (0.5 if seen[-1] == "done" else None)
        queue.mark("a.png", "unsure")
        assert hidden(folder) == []
    assert list(dict.fromkeys(seen)) == ["untouched", "in progress", "done"]


@pytest.mark.parametrize(
    ("name", "file", "key"), [("config", "config.json", "device"), ("keys", "keys.json", "split")]
)
def test_settings_are_replaced_as_a_whole(
    killed_folders: KilledFolders, name: str, file: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for folder in killed_folders(name, 4):
        monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
        settings = read_settings(file)
        seen.append(key in settings)
        assert len(settings) == 1 + seen[-1]
        remove_leftovers(settings_file(file).parent, 0)
        assert hidden(folder) == []
    assert seen == sorted(seen)
    assert set(seen) == {False, True}


def test_a_bundle_is_replaced_as_a_whole(killed_folders: KilledFolders) -> None:
    seen = []
    for folder in killed_folders("bundle", 4):
        seen.append(load_head(folder / "head.safetensors").metadata.name)
        save_again("bundle", folder)
    assert list(dict.fromkeys(seen)) == ["old", "new"]


def test_cached_features_are_whole_or_absent(killed_folders: KilledFolders) -> None:
    seen = []
    for folder in killed_folders("store"):
        cache = single_saves.tier(folder)
        cached = {number: cache.get(make_key(number)) for number in range(5)}
        for number, maps in cached.items():
            if maps is not None:
                assert_same(maps, make_maps(number))
        seen.append([number for number, maps in cached.items() if maps is not None])
        save_again("store", folder)
        assert_same(cache.get(make_key(4)), make_maps(4))
    assert seen[0] == [0, 1, 2]
    assert 4 in seen[-1]
    assert len(seen[-1]) < 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["project image", "renamed project image", "removed project image"])
def test_a_project_is_changed_as_a_whole(killed_folders: KilledFolders, name: str) -> None:
    """The images of the project and their training samples are those of before or of after."""
    seen = []
    for folder in killed_folders(name):
        project = Project(folder / "project")
        images = {image.name: image.sample for image in project.images.values()}
        assert {sample for sample in images.values() if sample} == set(project.dataset.images)
        for image in project.images.values():
            assert image.sample or project.file_of(image) is not None
            if image.sample:
                assert project.dataset.read(image.sample).labels.all()
        seen.append(sorted(images))
    before, after = (
        ["image 1", "image 2"],
        {
            "project image": ["image 1", "image 2", "image 3"],
            "renamed project image": ["image 2", "renamed"],
            "removed project image": ["image 2"],
        }[name],
    )
    first = seen.index(after)
    assert seen == [before] * first + [after] * (len(seen) - first)
    assert first > 3
