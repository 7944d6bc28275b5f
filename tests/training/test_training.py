"""Training and scoring of heads: data, losses, metrics, and the training loop on small images of discs."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from benchmarks.tiny_sam import tiny_model
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from napari_sampath.arrays import ClassInfo
from napari_sampath.encoders import EncoderInfo
from napari_sampath.errors import (
    ConfigError,
    DatasetError,
    ImageError,
    SampathError,
    UnknownNameError,
    WeightsError,
)
from napari_sampath.formats import DatasetFolder, Snapshot, export_labels
from napari_sampath.geometry import whole
from napari_sampath.heads import list_heads, load_head
from napari_sampath.jobs import run
from napari_sampath.predict import segment
from napari_sampath.store import MemoryTier, Store
from napari_sampath.training import (
    IGNORED,
    Sample,
    TrainingConfig,
    TrainingProgress,
    evaluate,
    format_report,
    open_dataset,
    train,
    train_job,
)
from napari_sampath.training.data.dataset import even_subset, read_label_map, split_by_group
from napari_sampath.training.data.readers.splits import with_splits
from napari_sampath.training.evaluation.evaluate import OTSU, otsu_on_haematoxylin
from napari_sampath.training.evaluation.metrics import (
    best_constant,
    confusion,
    constant_confusion,
    dice,
    iou,
    summarise,
)
from napari_sampath.training.heads.augmentation import orient
from napari_sampath.training.heads.losses import ce_dice
from napari_sampath.training.heads.tiles import TileSet, targets_on_grid
from napari_sampath.training.rounds.readiness import requirements
from napari_sampath.training.rounds.rounds import dataset_summary_job
from support.disc_folder import CLASSES, write_folder
from support.models.patches import disc_image, patch_model

QUICK = TrainingConfig(epochs=4, batch_size=2, window_cells=16, head_arguments={"top_channel": 4})


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "discs")


@pytest.fixture
def discs(folder):
    return open_dataset(folder)


class TestFolders:
    def test_plain_folder(self, discs):
        assert discs.classes == CLASSES
        assert len(discs.samples) == 10
        example = discs.read(discs.samples[3])
        np.testing.assert_array_equal(example.pixels, disc_image(3)[0])
        np.testing.assert_array_equal(example.targets, disc_image(3)[1])
        train_groups = {s.group for s in discs.split("train")}
        val_groups = {s.group for s in discs.split("val")}
        assert not train_groups & val_groups
        assert (len(discs.split("train")), len(discs.split("val"))) == (8, 2)

    def test_classes_from_label_values_and_missing_groups(self, tmp_path, caplog):
        folder = write_folder(tmp_path / "plain", classes=False, index=False)
        labels = np.array(Image.open(folder / "labels" / "p0.png"))
        labels[:5], labels[5:9] = 7, IGNORED
        Image.fromarray(labels).save(folder / "labels" / "p0.png")
        dataset = open_dataset(folder)
        assert [(c.id, c.name) for c in dataset.classes] == [
            (0, "background"),
            (1, "class 1"),
            (7, "class 7"),
        ]
        assert "slide or case" in caplog.text
        targets = dataset.read(dataset.samples[0]).targets
        assert (targets[:5] == 2).all()
        assert (targets[5:9] == IGNORED).all()

    def test_splits_of_the_index_are_kept(self, folder):
        rows = [{"name": f"p{i}", "group": "g", "split": "val" if i < 3 else "train"} for i in range(10)]
        with (folder / "index.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["name", "group", "split"])
            writer.writeheader()
            writer.writerows(rows)
        assert [s.name for s in open_dataset(folder).split("val")] == ["p0", "p1", "p2"]
        index = folder / "index.csv"
        text = index.read_text()
        index.write_text("\ufeff" + text, encoding="utf-8")  # with the byte order mark of spreadsheets
        assert [s.name for s in open_dataset(folder).split("val")] == ["p0", "p1", "p2"]
        index.write_text(text.replace(",", ";"))
        with pytest.raises(DatasetError, match=r"has the columns.*name;group;split.*commas"):
            open_dataset(folder)

    def test_other_spellings_of_split_names(self, folder):
        named = ["Training", "train", "validation", "Valid ", "VAL", "testing", "test"]
        splits = ["train", "train", "val", "val", "val", "test", "test"]
        index = folder / "index.csv"
        rows = [f"p{n},case {n},{named[n % 7]}" for n in range(10)]
        index.write_text("\n".join(["name,group,split", *rows]))
        assert [s.split for s in open_dataset(folder).samples] == [splits[n % 7] for n in range(10)]
        index.write_text(index.read_text().replace("testing", "hidden"))
        with pytest.raises(DatasetError, match=r"index\.csv.*'hidden'.*train, val, test"):
            open_dataset(folder)

    def test_a_group_without_patterns_is_refused(self, folder):
        with pytest.raises(DatasetError, match=r"The group 'p\(.\)' applies to images found by patterns"):
            open_dataset(folder, group="p(.)")

    def test_equal_image_names_in_two_cases(self, folder):
        samples = [Sample("0", folder, folder, f"case {n}", "train") for n in range(10)]
        samples.append(Sample("0", folder, folder, "case t", "test"))
        splits = [sample.split for sample in with_splits(samples)]
        assert splits.count("val") == 2
        assert splits[-1] == "test"

    @pytest.mark.parametrize("number", [0, 2])
    def test_class_0_called_rest_is_read_as_background(self, folder, number):
        """As files of earlier versions call it; only class 0 is renamed."""
        listed = [
            {"id": number, "name": "rest", "color": [0, 0, 0]},
            {"id": 1, "name": "disc", "color": [255, 0, 0]},
        ]
        (folder / "classes.json").write_text(json.dumps({"classes": listed}))
        names = {0: ["background", "disc"], 2: ["background", "disc", "rest"]}[number]
        assert [info.name for info in open_dataset(folder).classes] == names

    @pytest.mark.parametrize("name", ["background", "Background"])
    def test_a_class_of_the_user_called_background(self, tmp_path, name):
        classes = (ClassInfo(1, name, (200, 200, 200)), ClassInfo(2, "disc", (255, 0, 0)))
        own = DatasetFolder.create(tmp_path / "own", classes)
        for number in range(2):
            image, labels = disc_image(number)[:2]
            own.save_image(Snapshot(f"p{number}", image, labels + 1))
        dataset = open_dataset(own.path)
        assert [(info.id, info.name) for info in dataset.classes] == [(0, "rest"), (1, name), (2, "disc")]
        assert set(np.unique(dataset.read(dataset.samples[0]).targets)) == {1, 2}
        lines = [line.text for line in requirements(run(dataset_summary_job(own.path)))]
        assert "Each class has one name and one number." in lines

    def test_own_dataset_with_class_0_called_rest(self, tmp_path):
        old = DatasetFolder.create(tmp_path / "old", CLASSES)
        old.save_image(Snapshot("p0", *disc_image(0)))
        manifest = old.path / "dataset.json"
        content = json.loads(manifest.read_text())
        content["classes"] = [{"id": 0, "name": "rest", "color": [0, 0, 0]}, *content["classes"]]
        content["classes"] = [entry for entry in content["classes"] if entry["name"] != "background"]
        manifest.write_text(json.dumps(content))
        assert open_dataset(old.path).classes == CLASSES

    def test_exported_labels_are_read(self, folder):
        shutil.rmtree(folder / "labels")
        (folder / "classes.json").unlink()
        for number in range(10):
            class_map = disc_image(number)[1] * 5
            named = [ClassInfo(5, "disc", (1, 2, 3)), ClassInfo(2, "other", (4, 5, 6))][: 1 + number // 9]
            export_labels(
                folder / "labels",
                Snapshot(f"p{number}", None, class_map, class_map.astype(np.int32), classes=named),
            )
        dataset = open_dataset(folder)
        assert [(c.id, c.name) for c in dataset.classes] == [(0, "background"), (2, "other"), (5, "disc")]
        np.testing.assert_array_equal(dataset.read(dataset.samples[0]).targets, disc_image(0)[1] * 2)

    def test_missing_parts(self, folder, tmp_path):
        with pytest.raises(DatasetError, match="no folder"):
            open_dataset(tmp_path / "nowhere")
        with pytest.raises(DatasetError, match="not a dataset"):
            open_dataset(tmp_path)
        (folder / "labels" / "p4.png").unlink()
        with pytest.raises(DatasetError, match=r"'p4' has no label map.*p4\.png"):
            open_dataset(folder)
        (folder / "classes.json").write_text("{}")
        (folder / "images" / "p4.png").unlink()
        with pytest.raises(DatasetError, match=r"classes\.json"):
            open_dataset(folder)

    def test_label_maps_that_do_not_fit(self, folder, discs):
        sample = discs.samples[0]
        Image.fromarray(np.zeros((50, 96), np.uint8)).save(sample.labels)
        with pytest.raises(SampathError, match="96 x 50 px, but its image is 96 x 96 px"):
            discs.read(sample)
        Image.fromarray(np.full((96, 96), 3, np.uint8)).save(sample.labels)
        with pytest.raises(DatasetError, match=r"values \[3\]"):
            discs.read(sample)
        Image.fromarray(disc_image(0)[0]).save(sample.labels)
        with pytest.raises(SampathError, match="colours, not labels"):
            discs.read(sample)
        sample.labels.write_bytes(sample.labels.read_bytes()[:60])
        with pytest.raises(ImageError, match=r"p0\.png' is truncated"):
            discs.read(sample)
        sample.labels.unlink()
        with pytest.raises(DatasetError, match="no label map"):
            discs.read(sample)

    def test_palette_and_binary_labels_are_read_as_indices(self, tmp_path):
        labels = disc_image(0)[1]
        indexed = Image.fromarray(labels).convert("P")
        indexed.putpalette([0, 0, 0, 200, 10, 10])
        indexed.putdata(labels.ravel().tolist())
        indexed.save(tmp_path / "indexed.png")
        Image.fromarray(labels.astype(bool)).save(tmp_path / "binary.png")
        for name in ("indexed.png", "binary.png"):
            np.testing.assert_array_equal(read_label_map(tmp_path / name), labels)

    @pytest.mark.data
    def test_published_sets(self, data_dir):
        glands = open_dataset(data_dir / "ebhi_glands")
        assert (len(glands.split("train")), len(glands.split("val"))) == (1602, 237)
        assert {s.group for s in glands.split("train")}.isdisjoint({s.group for s in glands.split("val")})
        assert len({s.stratum for s in glands.samples}) == 6
        example = glands.read(glands.samples[0])
        assert example.pixels.shape == (224, 224, 3)
        assert set(np.unique(example.targets)) == {0, 1}
        assert example.targets.mean() == pytest.approx(0.648, abs=5e-4)  # index.csv's own fraction
        tumour = open_dataset(data_dir / "bcss_tumor")
        assert len(tumour.samples) == 81
        assert tumour.read(tumour.samples[0]).targets.mean() == pytest.approx(0.827, abs=5e-4)
        nuclei = open_dataset(data_dir / "bbbc038_nuclei")
        assert (len(nuclei.split("train")), len(nuclei.split("val"))) == (76, 11)
        example = nuclei.read(nuclei.samples[0])
        assert set(np.unique(example.targets)) == {0, 1}
        assert example.instances.max() == 70  # index.csv's own number
        outlined = open_dataset(data_dir / "tnbc_nuclei")
        assert (outlined.name, outlined.licence) == ("tnbc_nuclei", "CC-BY-4.0")
        assert (len(outlined.split("train")), len(outlined.split("val"))) == (31, 7)
        assert outlined.read(outlined.samples[0]).instances.max() == 69


def samples_of(strata):
    """Make samples from lists of group names, one list per stratum."""
    made = []
    for stratum, groups in strata.items():
        for number, group in enumerate(groups):
            path = f"{stratum}-{number}"
            made.append(Sample(path, path, path, group, "train", stratum))
    return made


class TestChoosing:
    @given(sizes=st.lists(st.integers(1, 12), min_size=2, max_size=12), share=st.floats(0.01, 0.5))
    @settings(deadline=None)
    def test_split_never_cuts_a_group(self, sizes, share):
        samples = samples_of({"a": [f"g{g}" for g, size in enumerate(sizes) for _ in range(size)]})
        stay, aside = split_by_group(samples, share, seed=1)
        assert {s.name for s in stay} | {s.name for s in aside} == {s.name for s in samples}
        assert {s.group for s in stay}.isdisjoint({s.group for s in aside})
        assert stay
        assert aside
        assert split_by_group(samples, share, seed=1) == (stay, aside)

    def test_one_group_cannot_be_split(self):
        with pytest.raises(DatasetError, match="the same slide or case"):
            split_by_group(samples_of({"a": ["g", "g"]}), 0.2, 0)

    def test_subset_is_even_over_strata_and_groups(self):
        samples = samples_of(
            {"common": ["a"] * 50 + ["b"] * 2 + ["c"] * 2, "middling": ["d"] * 20, "rare": ["e"] * 3}
        )
        chosen = even_subset(samples, 15, seed=0)
        counts = {name: sum(s.stratum == name for s in chosen) for name in ("common", "middling", "rare")}
        assert counts == {"common": 6, "middling": 6, "rare": 3}
        assert {s.group for s in chosen if s.stratum == "common"} == {"a", "b", "c"}
        assert sum(s.group == "b" for s in chosen) == 2
        assert len({s.name for s in chosen}) == 15
        assert even_subset(samples, 0, 0) == samples == even_subset(samples, 77, 0)


class TestLossAndMetrics:
    def test_ignored_pixels_change_nothing(self):
        torch.manual_seed(0)
        logits = torch.randn(2, 3, 8, 8, requires_grad=True)
        targets = torch.randint(0, 3, (2, 8, 8))
        cut = targets.clone()
        cut[:, :, 5:] = IGNORED
        loss = ce_dice(logits, cut).total
        alone = ce_dice(logits[..., :5], targets[..., :5]).total
        torch.testing.assert_close(loss, alone)
        loss.backward()
        assert not logits.grad[..., 5:].any()
        assert logits.grad[..., :5].any()

    def test_loss_is_zero_if_all_pixels_are_ignored(self):
        logits = torch.randn(1, 3, 4, 4, requires_grad=True)
        loss = ce_dice(logits, torch.full((1, 4, 4), IGNORED)).total
        loss.backward()
        assert float(loss.detach()) == 0
        assert not logits.grad.any()

    def test_without_background_every_class_counts(self):
        logits = torch.zeros(1, 2, 4, 4)
        targets = torch.zeros(1, 4, 4, dtype=torch.int64)
        # p = 1/2: Dice loss of class 0 is 1 - 17/21, of the absent class 1 it is 1 - 1/5.
        assert float(ce_dice(logits, targets, with_background=False).dice) == pytest.approx(
            (4 / 21 + 4 / 5) / 2
        )
        assert float(ce_dice(logits, targets).dice) == pytest.approx(4 / 5)

    @pytest.mark.parametrize("weight", [1.0, 2.0])
    def test_object_weight_lowers_the_decision_threshold(self, weight):
        targets = torch.zeros(1, 10, 10, dtype=torch.int64)
        targets[:, :4] = 1
        targets[:, 9] = IGNORED
        share = 4 / 9
        odds = weight * share / (1 - share)
        logits = torch.zeros(1, 2, 10, 10)
        logits[:, 1] = np.log(odds)
        logits.requires_grad_()
        ce_dice(logits, targets, dice_weight=0, object_weight=weight).total.backward()
        assert float(logits.grad.abs().max()) > 0
        assert float(logits.grad[:, 1].sum()) == pytest.approx(0, abs=1e-6), "this bias is optimal"

    def test_confusion_and_scores(self):
        targets = np.array([[0, 0, 1], [1, 2, IGNORED]])
        predicted = np.array([[0, 1, 1], [1, 0, 2]])
        matrix = confusion(predicted, targets, 3)
        assert matrix.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 0]]
        np.testing.assert_allclose(dice(matrix), [2 / 4, 4 / 5, 0])
        np.testing.assert_allclose(iou(matrix), [1 / 3, 2 / 3, 0])
        assert constant_confusion(matrix, 1).tolist() == [[0, 2, 0], [0, 2, 0], [0, 1, 0]]

    @given(seed=st.integers(0, 99), classes=st.integers(2, 5))
    def test_scores_agree_with_masks(self, seed, classes):
        rng = np.random.default_rng(seed)
        targets, predicted = rng.integers(0, classes, (2, 6, 7))
        matrix = confusion(predicted, targets, classes)
        for k in range(classes):
            both, either = (
                ((targets == k) & (predicted == k)).sum(),
                ((targets == k) | (predicted == k)).sum(),
            )
            assert np.isnan(iou(matrix)[k]) if either == 0 else iou(matrix)[k] == pytest.approx(both / either)

    def test_summary_leaves_out_background_and_images_without_the_class(self):
        perfect = confusion(np.array([0, 1, 1]), np.array([0, 1, 1]), 2)
        nothing = confusion(np.array([0, 0, 0]), np.array([0, 0, 0]), 2)
        half = confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
        scores = summarise([perfect, nothing, half], CLASSES)
        assert scores["per_image"]["disc"] == {"dice": pytest.approx(5 / 6), "iou": 0.75, "images": 2}
        assert scores["per_image"]["mean"] == {"dice": pytest.approx(5 / 6), "iou": 0.75}
        assert scores["pooled"]["disc"]["iou"] == 0.75
        assert scores["pixel_accuracy"] == pytest.approx(8 / 9)
        empty = summarise([nothing], CLASSES)
        assert empty["per_image"]["disc"]["dice"] is None
        assert json.loads(json.dumps(empty)) == empty
        name, scores = best_constant([perfect, half], CLASSES)
        assert name == "all disc"
        assert scores["per_image"]["disc"]["iou"] == pytest.approx(2 / 3)


class TestTiles:
    @given(seed=st.integers(0, 20), view=st.integers(0, 7))
    @settings(deadline=None)
    def test_eight_orientations_keep_all_pixels(self, seed, view):
        image = np.random.default_rng(seed).integers(0, 9, (4, 6, 3), dtype=np.uint8)
        turned = orient(image, view)
        assert sorted(turned.ravel()) == sorted(image.ravel())
        assert turned.shape == ((6, 4, 3) if view % 2 else (4, 6, 3))
        others = [orient(image, other) for other in range(8) if other != view]
        assert not any(o.shape == turned.shape and (o == turned).all() for o in others)

    @given(height=st.integers(16, 300), width=st.integers(16, 300))
    @example(height=85, width=300)
    @settings(deadline=None, max_examples=50)
    def test_targets_are_aligned_with_the_logits(self, height, width):
        """The target of a cell is that of the image pixel at its centre; padding is ignored."""
        frame = whole((height, width))
        rows, cols = np.indices((height, width))
        grid_rows = targets_on_grid((rows % 251).astype(np.uint8), frame)
        grid_cols = targets_on_grid((cols % 251).astype(np.uint8), frame)
        inside = np.argwhere(grid_rows != IGNORED)
        input_h, input_w = frame.input_hw
        assert len(inside) == round(input_h / 4) * round(input_w / 4) or min(input_h, input_w) % 4
        for i, j in inside[:: max(1, len(inside) // 50)]:
            x, y = frame.to_image((4 * j + 2, 4 * i + 2))
            # On the edge of two pixels either target is right.
            assert grid_rows[i, j] in {int(y - 1e-9) % 251, int(y + 1e-9) % 251}
            assert grid_cols[i, j] in {int(x - 1e-9) % 251, int(x + 1e-9) % 251}

    def test_features_and_targets_of_a_batch_share_their_window(self, discs):
        model = patch_model()
        tiles = TileSet(discs, model, model.store)
        run(tiles.add_job(discs.samples[:3], "none", ""))
        whole_maps, whole_targets = tiles.batch(tiles.tiles, ["embedding"])
        assert whole_maps["embedding"].shape == (3, 8, 64, 64)
        maps, targets = tiles.batch(tiles.tiles, ["embedding"], np.random.default_rng(0), 16)
        assert (maps["embedding"].shape, targets.shape) == ((3, 8, 16, 16), (3, 64, 64))
        for index in range(3):
            places = [
                (r, c)
                for r in range(49)
                for c in range(49)
                if torch.equal(
                    whole_maps["embedding"][index, :, r : r + 16, c : c + 16], maps["embedding"][index]
                )
            ]
            assert len(places) == 1
            r, c = places[0]
            assert torch.equal(whole_targets[index, 4 * r : 4 * r + 64, 4 * c : 4 * c + 64], targets[index])

    def test_windows_of_a_narrow_image_contain_pixels(self, tmp_path):
        dataset = open_dataset(write_folder(tmp_path / "narrow", count=4, groups=2, hw=(30, 120)))
        model = patch_model()
        tiles = TileSet(dataset, model, model.store)
        run(tiles.add_job(dataset.samples, "none", ""))
        rng = np.random.default_rng(0)
        for _ in range(10):
            targets = tiles.batch(tiles.tiles, ["embedding"], rng, 16)[1]
            assert (targets != IGNORED).flatten(1).any(dim=1).all()

    def test_large_images_are_tiled_and_ignored_tiles_skipped(self, tmp_path):
        folder = write_folder(tmp_path / "large", count=2, groups=2, hw=(1600, 300))
        labels = np.array(Image.open(folder / "labels" / "p0.png"))
        labels[:] = IGNORED
        Image.fromarray(labels).save(folder / "labels" / "p0.png")
        dataset, model = open_dataset(folder), patch_model()
        tiles = TileSet(dataset, model, model.store)
        run(tiles.add_job(dataset.samples, "none", ""))
        assert [t.sample.name for t in tiles.tiles] == ["p1"] * 2
        assert [t.window.height for t in tiles.tiles] == [1024, 1024]

    def test_sampling_weights_balance_classes(self, discs):
        model = patch_model()
        tiles = TileSet(discs, model, model.store)
        run(tiles.add_job(discs.samples[:4], "none", ""))
        assert tiles.weights(2).tolist() == [0.25] * 4
        kinds = ("a", "a", "a", "b")
        tiles.tiles = [
            dataclasses.replace(t, sample=dataclasses.replace(t.sample, stratum=kind))
            for t, kind in zip(tiles.tiles, kinds, strict=True)
        ]
        np.testing.assert_allclose(tiles.weights(2), [1 / 6, 1 / 6, 1 / 6, 1 / 2])


class TestTraining:
    @pytest.mark.parametrize("head", ["cnn", "linear"])
    def test_learns_discs(self, head, discs, tmp_path):
        model = patch_model()
        arguments = {"top_channel": 8} if head == "cnn" else {}
        config = dataclasses.replace(QUICK, epochs=15, learning_rate=5e-3, head_arguments=arguments)
        reports = []
        path = train(discs, head, config, model, tmp_path / "disc-head.safetensors", reports.append)
        steps = [r for r in reports if isinstance(r, TrainingProgress)]
        assert np.mean([r.loss for r in steps[-4:]]) < 0.7 * np.mean([r.loss for r in steps[:4]])
        assert all(r.done <= r.total for r in reports)
        assert model.encoder.passes == 10  # each image once, for any number of epochs
        loaded = load_head(path)
        assert loaded.name == "disc-head"
        assert loaded.metadata.data["images"] == {"train": 8, "val": 2}
        assert loaded.metadata.metrics["head"]["per_image"]["disc"]["dice"] == pytest.approx(
            max(r.dice for r in steps if r.dice is not None), abs=1e-9
        )
        report = evaluate(discs, path, model=model)
        scores = report["scores"]
        assert set(scores) == {"disc-head", OTSU, "all disc"}
        assert report["gain_iou"] > 0.3
        assert report["gain_iou"] == pytest.approx(
            scores["disc-head"]["per_image"]["mean"]["iou"] - scores["all disc"]["per_image"]["mean"]["iou"]
        )
        assert "disc-head" in format_report(report)
        pixels, labels = disc_image(77)
        found = segment(pixels, path, model).labels == 1
        assert (found & (labels == 1)).sum() / (found | (labels == 1)).sum() > 0.6

    def test_a_forest_is_trained_without_steps(self, discs, tmp_path):
        config = dataclasses.replace(QUICK, head_arguments={"trees": 10, "depth": 6, "samples": 2000})
        model, reports = patch_model(), []
        path = train(discs, "forest", config, model, tmp_path / "h.safetensors", reports.append)
        assert model.encoder.passes == 10
        assert [r.done for r in reports if isinstance(r, TrainingProgress)] == [0, 1]
        assert evaluate(discs, path, model=model)["gain_iou"] > 0.3

    @pytest.mark.slow
    @pytest.mark.parametrize("head", list_heads())
    def test_every_kind_of_head_can_be_trained(self, head, tmp_path):
        dataset = open_dataset(write_folder(tmp_path / "few", count=3, groups=3))
        arguments = {"sampath": {"variant": "sam_only"}, "forest": {"trees": 3}}.get(head, {})
        config = TrainingConfig(epochs=1, batch_size=2, head_arguments=arguments)
        model = tiny_model(Store(MemoryTier(2**28)))
        path = train(dataset, head, config, model, tmp_path / "h.safetensors")
        report = evaluate(dataset, path, model=model)
        assert report["images"] == 1
        assert report["scores"]["h"]["per_image"]["mean"]["dice"] is not None

    def test_same_seed_gives_same_bytes_with_and_without_cache(self, discs, tmp_path):
        warm = patch_model()
        first = train(discs, "cnn", QUICK, warm, tmp_path / "a" / "h.safetensors")
        again = train(discs, "cnn", QUICK, warm, tmp_path / "b" / "h.safetensors")
        torch.manual_seed(99)
        cold = train(discs, "cnn", QUICK, patch_model(store=False), tmp_path / "c" / "h.safetensors")
        other = dataclasses.replace(QUICK, seed=1)
        different = train(discs, "cnn", other, warm, tmp_path / "d" / "h.safetensors")
        assert first.read_bytes() == again.read_bytes() == cold.read_bytes()
        assert first.read_bytes() != different.read_bytes()

    def test_dihedral_encodes_each_orientation_once(self, discs, tmp_path):
        model = patch_model()
        config = dataclasses.replace(QUICK, augmentation="dihedral", epochs=2)
        train(
            discs, "linear", dataclasses.replace(config, head_arguments={}), model, tmp_path / "h.safetensors"
        )
        assert model.encoder.passes == 8 * 8 + 2

    def test_evicted_features_are_encoded_again(self, discs, tmp_path):
        model = patch_model()
        expected = train(discs, "cnn", QUICK, model, tmp_path / "a" / "h.safetensors").read_bytes()
        small = patch_model()
        small.store = Store(MemoryTier(3 * 8 * 64 * 64 * 4))
        assert train(discs, "cnn", QUICK, small, tmp_path / "b" / "h.safetensors").read_bytes() == expected
        assert small.encoder.passes > 20

    def test_held_out_cases_leave_the_validation_split_unseen(self, discs, tmp_path):
        model = patch_model()
        config = dataclasses.replace(QUICK, held_out_share=0.25, max_images=5, max_validation_images=1)
        path = train(discs, "cnn", config, model, tmp_path / "h.safetensors")
        assert model.encoder.passes == 6
        metadata = load_head(path).metadata
        assert metadata.metrics["chosen_on"] == "held-out cases of the training split"
        assert (metadata.data["trained_on"], metadata.data["chosen_on"]) == (5, 1)
        assert metadata.training["held_out_share"] == 0.25

    def test_stops_when_it_no_longer_improves(self, discs, tmp_path):
        reports = []
        config = dataclasses.replace(QUICK, epochs=50, patience=2, learning_rate=1e-7)
        train(discs, "cnn", config, patch_model(), tmp_path / "h.safetensors", reports.append)
        assert max(r.epoch for r in reports if isinstance(r, TrainingProgress)) < 10

    def test_cancelled_training_leaves_the_old_bundle(self, discs, tmp_path):
        path = tmp_path / "h.safetensors"
        path.write_bytes(b"old")
        job = train_job(discs, "cnn", QUICK, patch_model(), path)
        while not isinstance(next(job), TrainingProgress):
            pass
        job.close()
        assert path.read_bytes() == b"old"
        assert list(tmp_path.glob("*.part")) == []

    def test_divergence_raises_and_writes_nothing(self, discs, tmp_path):
        config = dataclasses.replace(QUICK, learning_rate=1e30, gradient_clip=1e30)
        with pytest.raises(WeightsError, match="lower learning rate"):
            train(discs, "cnn", config, patch_model(), tmp_path / "h.safetensors")
        assert not (tmp_path / "h.safetensors").exists()

    def test_an_infinite_gradient_raises(self, discs, tmp_path):
        config = dataclasses.replace(QUICK, learning_rate=1e3)  # The loss is still finite.
        with pytest.raises(WeightsError, match=r"gradient.*lower learning rate"):
            train(discs, "cnn", config, patch_model(), tmp_path / "h.safetensors")
        assert not (tmp_path / "h.safetensors").exists()

    def test_unknown_names_raise_before_encoding(self, discs):
        model = patch_model()
        with pytest.raises(UnknownNameError, match="Did you mean 'cnn'"):
            train(discs, "cn", QUICK, model)
        with pytest.raises(UnknownNameError, match="Did you mean 'depth'"):
            train(discs, "cnn", TrainingConfig(head_arguments={"deep": 3}), model)
        assert model.encoder.passes == 0

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            (TrainingConfig(head_arguments={"top_channel": 32.0}), "top_channel.* 32.0.* whole number"),
            (TrainingConfig(loss_arguments={"dice_weight": "abc"}), "dice_weight.* 'abc'.* a number"),
            (TrainingConfig(loss_arguments={"dice_weight": float("nan")}), "dice_weight.* nan.* a number"),
            (
                TrainingConfig(loss="focal_dice", loss_arguments={"compat_ignore": 1}),
                "compat_ignore.* 1.* true or false",
            ),
        ],
    )
    def test_arguments_of_wrong_type_raise_before_encoding(self, discs, config, words):
        model = patch_model()
        with pytest.raises(ConfigError, match=words):
            train(discs, "cnn", config, model)
        assert model.encoder.passes == 0

    def test_internal_loss_arguments_cannot_be_set(self, discs):
        config = TrainingConfig(loss="focal_dice", loss_arguments={"unlabelled": True})
        with pytest.raises(UnknownNameError, match="'unlabelled'"):
            train(discs, "cnn", config, patch_model())

    def test_a_dataset_without_labels_or_a_class_is_refused(self, discs, tmp_path):
        path = tmp_path / "h.safetensors"
        blank = dataclasses.replace(discs, ignored=frozenset({0, 1}))
        with pytest.raises(DatasetError, match="no labelled pixels to train on"):
            train(blank, "cnn", QUICK, patch_model(), path)
        more = dataclasses.replace(discs, classes=(*CLASSES, ClassInfo(2, "fat", (1, 1, 1))))
        with pytest.raises(DatasetError, match="contains the class 'fat'"):
            train(more, "cnn", QUICK, patch_model(), path)
        assert not path.exists()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"epochs": 0},
            {"batch_size": 0},
            {"learning_rate": 0},
            {"learning_rate": float("nan")},
            {"augmentation": "flip"},
            {"window_cells": 65},
            {"held_out_share": 0.6},
            {"max_images": -1},
        ],
    )
    def test_config_is_checked(self, wrong):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            TrainingConfig(**wrong)


class TestEvaluation:
    def test_evaluation_refuses_other_classes_or_features(self, discs, tmp_path):
        model = patch_model()
        path = train(discs, "cnn", QUICK, model, tmp_path / "h.safetensors")
        other = dataclasses.replace(discs, classes=(*CLASSES, ClassInfo(2, "fat", (1, 1, 1))))
        with pytest.raises(DatasetError, match="fat"):
            evaluate(other, path, model=model)
        with pytest.raises(WeightsError, match="train the head again"):
            evaluate(discs, path, model=patch_model(seed=3))
        foreign = patch_model()
        foreign.encoder.info = EncoderInfo("other", "", "", "", False, 0.0)
        with pytest.raises(WeightsError, match="load 'patches'"):
            evaluate(discs, path, model=foreign)
        with pytest.raises(DatasetError, match="no split 'test'"):
            evaluate(discs, path, split="test", model=model)

    def test_otsu_separates_the_stain(self):
        pixels = np.full((160, 160, 3), (235, 190, 215), np.uint8)
        rows, cols = np.indices((160, 160))
        disc = (rows - 80) ** 2 + (cols - 80) ** 2 < 50**2
        pixels[disc & (rows % 6 < 4)] = (110, 70, 150)  # nuclei with gaps between them
        found = otsu_on_haematoxylin(pixels) == 1
        assert (found & disc).sum() / (found | disc).sum() > 0.9
        assert not otsu_on_haematoxylin(np.full((20, 20, 3), 200, np.uint8)).any()
