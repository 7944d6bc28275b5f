"""The dataset folder: saving, reading, concurrent saves, a full disk, and damaged files."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import DatasetError, DuplicateNameError, ImageError, StorageError, UnknownNameError
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.session import Session, first_classes
from napari_sampath.training import open_dataset
from support import small_disk
from support.models.patches import disc_image

GLAND, FAT = ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(4, "fat", (250, 200, 20))
small = pytest.fixture(small_disk.mounted)


@pytest.fixture
def folder(tmp_path):
    return DatasetFolder.create(tmp_path / "glands", [GLAND, FAT])


def files(folder):
    return {
        str(path.relative_to(folder.path)): path.read_bytes()
        for path in folder.path.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_a_saved_image_is_read_unchanged(folder):
    pixels, labels = disc_image(1, (40, 60))
    labels = labels * 4
    instances, annotated = (labels > 0) * np.uint32(700), labels < 9
    annotated[:10] = False
    origin = {"annotator": "Søren", "model": "gland-cnn", "journal": 7}
    entry = folder.save_image(
        Snapshot("slide 1/a", pixels, labels, instances, annotated, mpp=0.25),
        group="slide 1",
        provenance=origin,
    )
    assert (entry.revision, entry.hw, entry.mpp, entry.group) == (1, (40, 60), 0.25, "slide 1")
    again = DatasetFolder.open(folder.path)
    assert again.name == "glands"
    assert again.classes == (GLAND, FAT)
    assert again.images == {"slide 1/a": entry}
    item = again.read("slide 1/a")
    for actual, expected in ((item.pixels, pixels), (item.labels, labels), (item.annotated, annotated)):
        np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(item.instances, instances)
    assert item.provenance == origin
    with Image.open(folder.path / "labels" / "slide 1%2Fa.png") as stored:
        assert stored.mode == "P"
        assert stored.getpalette()[12:15] == list(FAT.color)
    with Image.open(folder.path / "annotated" / "slide 1%2Fa.png") as stored:
        assert stored.mode == "1"


def test_without_instances_and_fully_verified(folder):
    folder.save_image(Snapshot("a", *disc_image(0)))
    item = folder.read("a")
    assert item.instances is None
    assert item.annotated.all()
    assert item.provenance == {}


@given(
    name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=25)
def test_any_image_name_can_be_used(tmp_path_factory, name, seed):
    folder = DatasetFolder.create(tmp_path_factory.mktemp("names"), [GLAND])
    if not name.strip():
        with pytest.raises(DatasetError, match="no name"):
            folder.save_image(Snapshot(name, *disc_image(seed, (20, 20))))
        return
    folder.save_image(Snapshot(name, *disc_image(seed, (20, 20))))
    np.testing.assert_array_equal(
        DatasetFolder.open(folder.path).read(name).labels, disc_image(seed, (20, 20))[1]
    )


def test_saving_again_replaces_the_image_and_keeps_the_old_revision(folder):
    pixels, labels = disc_image(2)
    folder.save_image(Snapshot("a", pixels, labels, labels), group="s", provenance={"round": 1})
    before = files(folder)
    corrected = labels.copy()
    corrected[:20] = 4
    entry = folder.save_image(Snapshot("a", pixels, corrected), group="s", provenance={"round": 2})
    assert entry.revision == 2
    np.testing.assert_array_equal(folder.read("a").labels, corrected)
    assert folder.read("a").instances is None
    after = files(folder)
    for kind, ending in (("images", "png"), ("labels", "png"), ("instances", "png"), ("provenance", "json")):
        assert after[f"history/a/1/{kind}.{ending}"] == before[f"{kind}/a.{ending}"]
    folder.save_image(Snapshot("a", pixels, labels), group="s")
    kept = sorted(path.name for path in (folder.path / "history" / "a").iterdir())
    assert kept == ["1", "2"]
    assert not (folder.path / "history" / "a" / "2" / "instances.png").exists()


def test_saving_the_same_content_changes_nothing(folder):
    first = folder.save_image(Snapshot("a", *disc_image(2)), group="s")
    before = files(folder)
    assert folder.save_image(Snapshot("a", *disc_image(2)), group="s") == first
    assert files(folder) == before


def test_slides_are_assigned_to_splits_once(folder):
    for number in range(12):
        folder.save_image(Snapshot(f"{number}", *disc_image(number, (20, 20))), group=f"slide {number // 2}")
    splits = {image.slide: folder.split_of(name) for name, image in folder.images.items()}
    assert splits["slide 0"] == "train"
    assert sum(split == "val" for split in splits.values()) in (1, 2)
    for name, image in folder.images.items():
        assert folder.split_of(name) == splits[image.group]
    folder.set_split("slide 0", "test")
    again = DatasetFolder.open(folder.path)
    assert again.split_of("0") == again.split_of("1") == "test"
    with pytest.raises(DatasetError, match="no split 'trian'"):
        folder.set_split("slide 0", "trian")
    with pytest.raises(UnknownNameError, match="slide 9"):
        folder.set_split("slide 9", "val")


def test_training_images_stay_training_images_in_another_slide(folder):
    folder.save_image(Snapshot("a", *disc_image(0)))
    assert folder.split_of("a") == "train"
    folder.save_image(Snapshot("a", *disc_image(0)), group="case0")
    assert folder.split_of("a") == "train"
    folder.save_image(Snapshot("case0-1", *disc_image(1)))
    assert folder.split_of("case0-1") == "val"
    folder.find_slides("-")
    assert folder.images["case0-1"].slide == "case0"
    assert folder.split_of("a") == folder.split_of("case0-1") == "train"


def test_slides_are_found_in_image_names(folder):
    names = [f"case{number // 3}-{number}" for number in range(12)]
    for number, name in enumerate(names):
        folder.save_image(
            Snapshot(name, *disc_image(number, (20, 20))), group="explicit" if number == 11 else ""
        )
    assert len({image.slide for image in folder.images.values()}) == 12
    validation = {name for name in names if folder.split_of(name) == "val"}
    assert validation
    folder.find_slides("-")
    again = DatasetFolder.open(folder.path)
    assert again.slide_ends_before == "-"
    assert [image.slide for image in again.images.values()] == [f"case{n // 3}" for n in range(11)] + [
        "explicit"
    ]
    for slide in {image.slide for image in again.images.values()}:
        of_slide = [name for name, image in again.images.items() if image.slide == slide]
        assert len({again.split_of(name) for name in of_slide}) == 1, "no slide is in two splits"
    assert {name for name in names if again.split_of(name) == "val"} <= validation, (
        "training images are never used for validation"
    )
    new = again.save_image(Snapshot("case0-12", *disc_image(12, (20, 20))))
    assert (new.slide, again.split_of("case0-12")) == ("case0", again.split_of("case0-0"))
    assert again.save_image(Snapshot("case0-0", *disc_image(3, (20, 20)))).slide == "case0", (
        "an image that is saved again keeps its slide"
    )
    assert again.save_image(Snapshot("other", *disc_image(13, (20, 20)))).slide == "other", (
        "a name without a slide"
    )
    again.find_slides("")
    assert {image.slide for image in again.images.values()} == {*names[:11], "case0-12", "other", "explicit"}


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30)), min_size=1, max_size=12, unique=True),
    st.lists(st.sampled_from(["-", "_", "", "1"]), min_size=1, max_size=4),
)
@settings(deadline=None, max_examples=25)
def test_training_images_are_never_used_for_validation(tmp_path_factory, pairs, rules):
    folder = DatasetFolder.create(tmp_path_factory.mktemp("slides") / "d", ())
    pixels, labels = disc_image(0, (8, 8))
    for start, number in pairs:
        folder.save_image(Snapshot(f"{start}-{number}_x", pixels, labels * 0))
    for rule in rules:
        before = {name: folder.split_of(name) for name in folder.images}
        folder.find_slides(rule)
        for name, entry in folder.images.items():
            assert folder.split_of(name) == folder.split_of(
                next(other for other, image in folder.images.items() if image.slide == entry.slide)
            )
            assert folder.split_of(name) != "val" or before[name] == "val"


def test_classes_of_another_list_are_matched_by_name(folder):
    labels = disc_image(0)[1].copy()
    labels[0, :5] = 2
    other_classes = [
        ClassInfo(0, "background", (0, 0, 0)),
        ClassInfo(1, "fat", (1, 1, 1)),
        ClassInfo(2, "nerve", (9, 9, 9)),
    ]
    folder.save_image(Snapshot("a", disc_image(0)[0], labels, classes=other_classes))
    assert [(info.id, info.name) for info in folder.classes] == [(1, "gland"), (4, "fat"), (2, "nerve")]
    np.testing.assert_array_equal(folder.read("a").labels, np.array([0, 4, 2], np.uint8)[labels])
    # The id of "bone" is in use here, so it gets the first free one.
    folder.save_image(
        Snapshot(
            "b",
            disc_image(0)[0],
            labels,
            classes=[ClassInfo(1, "bone", (1, 1, 1)), ClassInfo(2, "gland", (0, 0, 0))],
        )
    )
    assert {info.name: info.id for info in folder.classes}["bone"] == 3
    assert set(np.unique(folder.read("b").labels)) == {0, 1, 3}


def test_a_class_is_removed_with_its_last_pixel(tmp_path):
    """Training rejects classes without pixels, so a renamed or emptied class must not remain."""
    folder = DatasetFolder.create(tmp_path / "corrected", [])
    pixels, labels = disc_image(0)
    tumor, tumour = (ClassInfo(1, name, (1, 1, 1)) for name in ("tumor", "tumour"))
    for name in ("a", "b"):
        folder.save_image(Snapshot(name, pixels, labels, classes=[tumor]))
    folder.save_image(Snapshot("a", pixels, labels, classes=[tumour]))
    assert [info.name for info in folder.classes] == ["tumor", "tumour"], "b still holds the old one"
    folder.save_image(Snapshot("b", pixels, labels, classes=[tumour]))
    assert [info.name for info in folder.classes] == ["tumour"]
    assert (folder.read("b").labels > 0).sum() == labels.sum()
    assert [info.name for info in open_dataset(folder.path).classes] == ["background", "tumour"]
    for name in ("a", "b"):
        folder.save_image(Snapshot(name, pixels, 0 * labels, classes=[]))
    assert DatasetFolder.open(folder.path).classes == ()


def test_a_new_class_is_rejected_if_no_id_is_left(tmp_path):
    """With id 0, its objects would become background."""
    full = [ClassInfo(number, f"class {number}", (0, 0, 0)) for number in range(1, 256)]
    dataset = DatasetFolder.create(tmp_path / "full", full)
    pixels, labels = disc_image(0, (20, 30))
    with pytest.raises(DatasetError, match="255 classes; no id from 1 to 255 is left for 'one more'"):
        dataset.save_image(Snapshot("a", pixels, labels, classes=[ClassInfo(1, "one more", (0, 0, 0))]))
    assert not dataset.images


def test_class_names_are_matched_ignoring_capitals(tmp_path):
    """Sessions ignore capitals, and a session with both names could not be opened."""
    folder = DatasetFolder.create(tmp_path / "corrected", [])
    pixels, labels = disc_image(0)
    folder.save_image(Snapshot("a", pixels, labels, classes=[ClassInfo(1, "gland", (1, 1, 1))]))
    folder.save_image(Snapshot("b", pixels, labels, classes=[ClassInfo(1, " Gland", (1, 1, 1))]))
    assert [info.name for info in folder.classes] == ["gland"]
    np.testing.assert_array_equal(folder.read("b").labels, labels)
    with pytest.raises(DuplicateNameError, match="capitals"):
        folder.set_classes([*folder.classes, ClassInfo(2, "GLAND", (1, 1, 1))])


def test_two_spellings_of_a_class_are_merged_on_saving(folder):
    pixels, labels = disc_image(0)
    folder.save_image(Snapshot("a", pixels, labels))
    folder.save_image(Snapshot("b", pixels, labels * 4))
    manifest = folder.path / "dataset.json"
    manifest.write_text(manifest.read_text().replace('"fat"', '"Gland"'))
    folder = DatasetFolder.open(folder.path)
    assert [info.name for info in folder.classes] == ["gland", "Gland"]
    assert [info.name for info in first_classes(folder.path)] == ["gland"]
    Session(pixels, "b", classes=first_classes(folder.path))
    folder.save_image(Snapshot("b", pixels, labels, classes=[ClassInfo(1, "Gland", (1, 1, 1))]))
    assert [info.name for info in folder.classes] == ["gland"], (
        "removed with the last pixel of the other spelling"
    )
    np.testing.assert_array_equal(folder.read("b").labels, labels)


def test_classes_can_be_renamed_but_not_removed(folder):
    folder.set_classes([ClassInfo(1, "crypt", (1, 2, 3)), FAT])
    assert DatasetFolder.open(folder.path).classes[0].name == "crypt"
    with pytest.raises(DatasetError, match="'fat'"):
        folder.set_classes([GLAND])
    with pytest.raises(DuplicateNameError):
        folder.set_classes([GLAND, ClassInfo(4, "gland", (1, 1, 1))])


def test_invalid_input_gives_a_one_sentence_error_and_writes_nothing(folder):
    pixels, labels = disc_image(0)
    before = files(folder)
    for match, values in (
        (r"labels of 'a' have shape \(9, 9\)", {"class_map": labels[:9, :9]}),
        ("hold 3, which is the id of no class", {"class_map": labels * 3}),
        (r"values from 0 to 70000", {"instance_map": labels * np.int64(70000)}),
        ("give bool", {"verified": labels}),
        ("give RGB", {"image": pixels[..., 0]}),
        ("mpp is -1", {"mpp": -1.0}),
        ("have shape .* whole numbers", {"class_map": labels * 1.0}),
    ):
        with pytest.raises(DatasetError, match=match):
            folder.save_image(Snapshot("a", **({"image": pixels, "class_map": labels} | values)))
    with pytest.raises(DatasetError, match="that JSON cannot store"):
        folder.save_image(Snapshot("a", pixels, labels), provenance={"x": object()})
    assert files(folder) == before
    folder.save_image(Snapshot("a", pixels, labels))
    with pytest.raises(DatasetError, match="only in capitals"):
        folder.save_image(Snapshot("A", pixels, labels))
    with pytest.raises(DatasetError, match="a dataset already"):
        DatasetFolder.create(folder.path, [GLAND])


def test_errors_name_the_damaged_file(folder):
    folder.save_image(Snapshot("a", *disc_image(0)))
    labels = folder.file("labels", "a")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(labels)
    with pytest.raises(DatasetError, match=r"labels.a\.png' has shape \(9, 9\)"):
        folder.read("a")
    labels.write_bytes(labels.read_bytes()[:40])
    with pytest.raises(ImageError, match=r"a\.png"):
        folder.read("a")
    labels.unlink()
    with pytest.raises(DatasetError, match=r"a\.png' is listed in dataset\.json but missing"):
        folder.read("a")
    path = folder.path / "dataset.json"
    content = json.loads(path.read_text())
    for wrong, match in (
        ("{", "damaged"),
        (json.dumps(content | {"schema_version": 99}), "schema version 99"),
        (json.dumps(content | {"splits": {"a": "trian"}}), "trian"),
        (json.dumps(content | {"images": 3}), "damaged"),
    ):
        path.write_text(wrong)
        with pytest.raises(DatasetError, match=match):
            DatasetFolder.open(folder.path)
    with pytest.raises(DatasetError, match="There is no"):
        DatasetFolder.open(folder.path / "elsewhere")


def test_concurrent_saves(folder):
    def save(number):
        opened = DatasetFolder.open(folder.path)
        opened.save_image(Snapshot(f"{number}", *disc_image(number, (20, 20))), group=f"g{number % 4}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(save, range(12)))
    again = DatasetFolder.open(folder.path)
    assert set(again.images) == {str(number) for number in range(12)}
    for number in range(12):
        np.testing.assert_array_equal(again.read(str(number)).labels, disc_image(number, (20, 20))[1])


def test_a_full_disk_keeps_the_earlier_revision(small):
    folder = DatasetFolder.create(small / "d", [GLAND])
    folder.save_image(Snapshot("a", *disc_image(0, (60, 60))))
    before = files(folder)
    with pytest.raises(StorageError, match="free some space"):
        folder.save_image(Snapshot("a", *disc_image(1, (600, 600))))
    after = files(folder)
    assert {name: after[name] for name in before} == before
    np.testing.assert_array_equal(
        DatasetFolder.open(folder.path).read("a").labels, disc_image(0, (60, 60))[1]
    )
