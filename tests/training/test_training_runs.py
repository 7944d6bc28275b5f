"""Training runs: resumed after a kill, on several processes, with presets, on a full disk."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import logging
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from benchmarks.scales import score_scales
from torch.optim.lr_scheduler import ReduceLROnPlateau

from napari_sampath.arrays import ClassInfo, FeatureMap, FeatureSpec
from napari_sampath.encoders import list_encoders
from napari_sampath.errors import ConfigError, StorageError, UnknownNameError, WeightsError
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.heads import load_head, registry
from napari_sampath.jobs import run
from napari_sampath.store import MemoryTier, Store
from napari_sampath.training import (
    PRESETS,
    TrainingConfig,
    TrainingProgress,
    open_dataset,
    preset,
    train,
    train_job,
)
from napari_sampath.training.data.dataset import IGNORED, Dataset, Item, Sample
from napari_sampath.training.heads import trainer
from napari_sampath.training.heads.augmentation import augment
from napari_sampath.training.heads.checkpoint import checkpoint_path
from napari_sampath.training.heads.losses import make_loss
from napari_sampath.training.heads.mosaics import Mosaic, random_mosaics, whole_mosaics
from napari_sampath.training.heads.optim import make_plateau, rate_at, set_rate
from napari_sampath.training.heads.tiles import TileSet
from support import small_disk
from support.golden import assert_matches
from support.models.patches import disc_image, patch_model
from support.programs.training_run import RECIPE

BACKGROUND, DISC = ClassInfo(0, "background", (0, 0, 0)), ClassInfo(1, "disc", (255, 0, 0))
small = pytest.fixture(small_disk.mounted)


def make_folder(path):
    """Write a dataset folder with eight images of four slides."""
    made = DatasetFolder.create(path / "discs", [DISC])
    for number in range(8):
        made.save_image(Snapshot(f"p{number}", *disc_image(number), mpp=0.5), group=f"slide {number // 2}")
    return made.path


def coded_sample(number, side=96):
    """A sample in memory: one square object, red where it is, and its number in the green channel."""
    labels = np.zeros((side, side), np.uint8)
    labels[side // 4 : -side // 4, side // 4 : -side // 4] = 1
    pixels = np.stack([labels * 100, np.full_like(labels, number), labels * 0], axis=-1)
    item = Item(pixels, labels, labels.astype(np.int32))
    kind = f"tissue {number % 2}"
    return Sample(f"{number:02d}", Path(), Path(), str(number), "train", kind, load=lambda _: item)


@pytest.fixture
def folder(tmp_path):
    """A dataset folder that a test may change."""
    return make_folder(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a dataset folder, and a function that trains on it once per configuration."""
    place = tmp_path_factory.mktemp("trained")
    data, heads = make_folder(place), {}

    def head(config=RECIPE):
        if (key := repr(config)) not in heads:
            heads[key] = place / str(len(heads)) / "h.safetensors"
            train(open_dataset(data), "cnn", config, patch_model(), heads[key])
        return heads[key]

    return data, head


def program(folder, output, *changes, launcher=()):
    """Return the command that trains in another process."""
    return [
        sys.executable,
        *launcher,
        "-m",
        "support.programs.training_run",
        str(folder),
        str(output),
        *changes,
    ]


def stop_after(folder, path, steps, config=RECIPE):
    """Train, and cancel after a number of reports."""
    job = train_job(open_dataset(folder), "cnn", config, patch_model(), path)
    seen = 0
    while seen < steps:
        seen += isinstance(next(job), TrainingProgress)
    job.close()


class TestResume:
    @pytest.mark.parametrize("steps", [1, 4, 6, 9])
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"accumulate": 2, "optimiser": "adam", "schedule": "plateau", "keep": "last", "balanced": False},
        ],
        ids=["defaults", "other"],
    )
    def test_a_cancelled_run_resumes_to_the_same_head(self, trained, tmp_path, steps, changes):
        config = dataclasses.replace(RECIPE, **changes)
        (folder, head), parts = trained, tmp_path / "h.safetensors"
        whole = head(config)
        stop_after(folder, parts, steps, config)
        # Checkpoints hold no accumulated gradients.
        assert checkpoint_path(parts).is_file() == (steps >= config.accumulate)
        reports = []
        train(open_dataset(folder), "cnn", config, patch_model(), parts, reports.append)
        first = next(r for r in reports if isinstance(r, TrainingProgress))
        assert first.done >= steps - config.accumulate
        assert parts.read_bytes() == whole.read_bytes()
        assert parts.with_suffix(".csv").read_bytes() == whole.with_suffix(".csv").read_bytes()
        assert not checkpoint_path(parts).exists()

    @pytest.mark.slow
    def test_a_killed_run_leaves_a_valid_checkpoint_and_resumes(self, trained, tmp_path):
        (folder, head), parts = trained, tmp_path / "h.safetensors"
        whole = head()
        for reports in (3, 3):
            with subprocess.Popen(program(folder, parts), stdout=subprocess.PIPE, text=True) as process:
                for _ in range(reports):
                    assert process.stdout.readline()
                process.send_signal(signal.SIGKILL)
            assert safetensors.torch.load_file(checkpoint_path(parts))
            assert not parts.exists()
        done = subprocess.run(
            program(folder, parts), capture_output=True, text=True, check=True
        ).stdout.split()
        assert float(done[0]) >= 4
        assert parts.read_bytes() == whole.read_bytes()

    def test_training_starts_with_the_weights_of_a_head(self, trained, tmp_path):
        (folder, head), path = trained, tmp_path / "h.safetensors"
        first = head()
        config = dataclasses.replace(RECIPE, start=str(first), learning_rate=1e-12, weight_decay=0, epochs=1)
        train(open_dataset(folder), "cnn", config, patch_model(), path)
        for name, values in load_head(first).head.named_parameters():
            torch.testing.assert_close(load_head(path).head.get_parameter(name), values, atol=1e-3, rtol=1e-3)
        assert load_head(path).metadata.training["start"] == first.stem
        other = dataclasses.replace(config, head_arguments={"top_channel": 8})
        with pytest.raises(WeightsError, match=r"The head 'h' \('cnn', 2 classes\) does not fit a new head"):
            train(open_dataset(folder), "cnn", other, patch_model(), tmp_path / "other.safetensors")

    def test_other_settings_or_labels_start_anew(self, folder, tmp_path):
        path, fresh = tmp_path / "h.safetensors", tmp_path / "fresh" / "h.safetensors"
        stop_after(folder, path, 5)
        changed = dataclasses.replace(RECIPE, learning_rate=1e-3)
        train(open_dataset(folder), "cnn", changed, patch_model(), path)
        train(open_dataset(folder), "cnn", changed, patch_model(), fresh)
        assert path.read_bytes() == fresh.read_bytes()
        stop_after(folder, path, 5)
        pixels, labels = disc_image(0)
        DatasetFolder.open(folder).save_image(Snapshot("p0", pixels, 1 - labels, mpp=0.5), group="slide 0")
        train(open_dataset(folder), "cnn", RECIPE, patch_model(), path)
        train(open_dataset(folder), "cnn", RECIPE, patch_model(), fresh)
        assert path.read_bytes() == fresh.read_bytes()

    def test_a_damaged_checkpoint_is_reported_and_ignored(self, trained, tmp_path, caplog):
        (folder, head), path = trained, tmp_path / "h.safetensors"
        stop_after(folder, path, 5)
        kept = checkpoint_path(path)
        kept.write_bytes(kept.read_bytes()[:-100])
        train(open_dataset(folder), "cnn", RECIPE, patch_model(), path)
        assert "training starts from the beginning" in caplog.text
        assert path.read_bytes() == head().read_bytes()


class TestProcesses:
    @pytest.mark.slow
    @pytest.mark.parametrize("launch", ["torchrun", "devices"])
    def test_two_processes_train_the_same_head_as_one(self, folder, tmp_path, launch):
        """With whole tiles and cross-entropy, the mean gradient of the processes is the gradient of the batch."""
        same: dict[str, Any] = {
            "window_cells": 64,
            "loss_arguments": {"dice_weight": 0},
            "epochs": 2,
            "gradient_clip": 0,
            "half": False,
        }
        one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
        train(open_dataset(folder), "cnn", dataclasses.replace(RECIPE, **same), patch_model(), one)
        words = [f"{key}={json.dumps(value)}" for key, value in same.items()]
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2"] if launch == "torchrun" else []
        own = [] if launch == "torchrun" else ["devices=2"]
        environment = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
        done = subprocess.run(
            program(folder, two, *words, *own, launcher=launcher),
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.split().count("6") == 2 * subprocess_reports(6)
        expected, found = safetensors.torch.load_file(one), safetensors.torch.load_file(two)
        for name, values in expected.items():
            torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-5)
        assert load_head(two).metadata.metrics["head"] == load_head(one).metadata.metrics["head"]

    def test_batch_size_must_be_divisible_by_processes(self):
        with pytest.raises(ConfigError, match="batch_size is 3 for 2 devices"):
            TrainingConfig(batch_size=3, devices=2)


def subprocess_reports(step):
    """Return the number of reports for a number of steps; the last step of an epoch has two."""
    return 2 if step % 3 == 0 else 1


class TestRecipes:
    @pytest.mark.parametrize("name", ["sampath.schedule.bcss", "sampath.schedule.crag"])
    def test_learning_rates_match_the_reference(self, golden, name):
        case = golden.case(name)
        config = preset(name.rsplit(".", 1)[1])
        steps = round(case["inputs"]["warmup_steps"] / config.warmup_epochs)
        assert [drop * steps for drop in config.drops] == case["inputs"]["milestones"]
        found = [rate_at(config, steps, step) for step in case["inputs"]["steps"]["values"]]
        assert_matches(golden, name, "factor", np.array(found))

    def test_plateau_leaves_the_rate_to_its_scheduler_after_the_warm_up(self):
        config = TrainingConfig(schedule="plateau", warmup_epochs=1, learning_rate=0.5)
        optimiser = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        scheduler = make_plateau(optimiser)
        rates = []
        for step in range(4):
            set_rate(optimiser, config, 2, step)
            rates.append(optimiser.param_groups[0]["lr"])
        assert rates == [0.25, 0.5, 0.5, 0.5]
        for _ in range(12):
            scheduler.step(1.0)
        set_rate(optimiser, config, 2, 24)
        assert optimiser.param_groups[0]["lr"] == pytest.approx(0.05)

    @pytest.mark.slow
    def test_a_resumed_run_keeps_the_rate_of_the_plateau(self, folder, tmp_path, monkeypatch):
        """With a scheduler that reduces the rate after few epochs."""
        monkeypatch.setattr(trainer, "PLATEAU_START", 0)
        monkeypatch.setattr(
            trainer, "make_plateau", lambda optimiser: ReduceLROnPlateau(optimiser, patience=1)
        )
        config = TrainingConfig(
            schedule="plateau", epochs=9, patience=0, learning_rate=1e-6, warmup_epochs=0, save_every_s=0
        )
        whole, resumed = tmp_path / "whole.safetensors", tmp_path / "resumed.safetensors"
        train(open_dataset(folder), "linear", config, patch_model(), whole)
        job = train_job(open_dataset(folder), "linear", config, patch_model(), resumed)
        for progress in job:
            if getattr(progress, "epoch", 0) == 8:
                break
        job.close()
        assert checkpoint_path(resumed).is_file()
        train(open_dataset(folder), "linear", config, patch_model(), resumed)
        rows = whole.with_suffix(".csv").read_text()
        assert resumed.with_suffix(".csv").read_text() == rows
        rates = [float(row["learning_rate"]) for row in csv.DictReader(rows.splitlines())]
        assert rates[0] > rates[-1]

    def test_presets(self):
        assert set(PRESETS) == {"bcss", "crag", "acdc", "glas", "monuseg", "polyp"}
        assert all("20" in preset.source for preset in PRESETS.values())
        bcss = preset("bcss")
        assert bcss.batch_size * bcss.accumulate == 24
        assert (bcss.epochs, bcss.learning_rate, bcss.weight_decay) == (32, 1e-4, 1e-2)
        with pytest.raises(UnknownNameError, match="Did you mean 'monuseg'"):
            preset("monusec")

    @pytest.mark.parametrize("name", list(PRESETS))
    def test_presets_build_their_head(self, name):
        """Its arguments are those of the paper, and its encoder is registered."""
        case = PRESETS[name]
        encoder = case.model.split(":")[-1].split("+")[0]
        spec = FeatureSpec((FeatureMap("embedding", 256, encoder), FeatureMap("tokens", 768, encoder)))
        if case.head == "sampath":
            spec = FeatureSpec((*spec.maps, FeatureMap("hipt-s16.tokens", 384, "hipt-s16")))
        with torch.device("meta"):
            head = registry[case.head](spec, (BACKGROUND, DISC), **case.config.head_arguments)
        assert head.arguments.items() >= case.config.head_arguments.items()
        assert set(case.model.split(":")[-1].split("+")) <= set(list_encoders())

    @pytest.mark.parametrize("name", list(PRESETS))
    def test_losses_accept_the_arguments_of_the_presets(self, name):
        loss = make_loss(preset(name))
        logits = torch.randn(2, 2, 8, 8, requires_grad=True)
        total = loss(logits, torch.randint(0, 2, (2, 8, 8)), True, torch.rand(2, 2)).total
        total.backward()
        assert torch.isfinite(logits.grad).all()

    def test_a_preset_trains(self, folder, tmp_path):
        config = dataclasses.replace(preset("acdc"), epochs=2, head_arguments={"top_channel": 4})
        model = patch_model()
        path = train(open_dataset(folder), "cnn", config, model, tmp_path / "h.safetensors")
        assert load_head(path).metadata.training["best_epoch"] == 2

    def test_keep_last(self, folder, tmp_path):
        config = dataclasses.replace(RECIPE, keep="last", patience=0, learning_rate=1e-7)
        path = train(open_dataset(folder), "cnn", config, patch_model(), tmp_path / "h.safetensors")
        assert load_head(path).metadata.training["best_epoch"] == 4

    def test_unknown_loss_and_argument_raise_first(self, folder, tmp_path):
        model = patch_model()
        for changes, words in (
            ({"loss": "ce_dica"}, "ce_dice"),
            ({"loss_arguments": {"dice_weigth": 1}}, "dice_weight"),
        ):
            with pytest.raises(UnknownNameError, match=f"Did you mean '{words}'"):
                train(
                    folder, "cnn", dataclasses.replace(RECIPE, **changes), model, tmp_path / "h.safetensors"
                )
        assert model.encoder.passes == 0


class TestAugmentation:
    def test_pixel_augmentation_encodes_at_every_step_and_warns(self, folder, tmp_path, caplog):
        model = patch_model()
        kept = len(open_dataset(folder).split("val")) + 1  # and one training tile, to measure the cost
        config = dataclasses.replace(RECIPE, augmentation="pixels", epochs=2, rotation_degrees=10.0)
        train(open_dataset(folder), "cnn", config, model, tmp_path / "h.safetensors")
        assert model.encoder.passes == kept + 2 * 3 * 2
        assert model.store.info().memory.entries == kept
        assert "the encoder runs at every step" in caplog.text

    def test_reports_the_cost_of_pixel_augmentation_even_if_all_is_stored(self, folder, tmp_path, caplog):
        model = patch_model()
        dataset = open_dataset(folder)
        config = dataclasses.replace(RECIPE, epochs=1)
        train(dataset, "cnn", config, model, tmp_path / "a.safetensors")
        config = dataclasses.replace(config, augmentation="pixels")
        reports = []
        train(dataset, "cnn", config, model, tmp_path / "b.safetensors", reports.append)
        assert "the encoder runs at every step" in caplog.text
        assert any("Encoding takes about" in report.message for report in reports)

    def test_labels_follow_the_pixels(self):
        labels = disc_image(3, (80, 120))[1]
        pixels = np.stack([labels * 200, labels * 100, labels * 50], axis=-1)
        config = TrainingConfig(crop_share=0.3, rotation_degrees=20, stain_jitter=0)
        shapes = set()
        for seed in range(20):
            seen, targets = augment(pixels, labels, config, np.random.default_rng(seed))
            shapes.add(seen.shape[:2])
            inside = targets != IGNORED
            agree = (seen[..., 0] > 100) == (targets == 1)
            assert agree[inside].mean() > 0.98
            assert seen.shape[0] * seen.shape[1] >= 0.28 * labels.size
        assert len(shapes) > 10

    def test_smallest_scale_adds_mirrored_margins(self):
        labels = disc_image(3, (80, 120))[1]
        pixels = np.stack([labels * 200, labels * 100, labels * 50], axis=-1)
        config = TrainingConfig(smallest_scale=0.25, crop_share=1.0, stain_jitter=0)
        sides = []
        for seed in range(20):
            seen, targets = augment(pixels, labels, config, np.random.default_rng(seed))
            assert np.array_equal(seen[..., 0], targets * 200)
            height, width = sorted(targets.shape)
            assert width / height == pytest.approx(1.5, rel=0.05)
            assert abs((targets == 1).mean() - (labels == 1).mean()) < 0.35
            sides.append(height)
        assert 80 <= min(sides) < 120
        assert 240 < max(sides) <= 320

    def test_mosaics_show_neighbours_smaller_and_labels_follow_the_pixels(self):
        samples = [coded_sample(number) for number in range(12)]
        config = TrainingConfig(mosaics=1, smallest_scale=0.25)
        sides = []
        for sample in random_mosaics(samples, 30, config, stain_jitter=0):
            item = sample.read()
            assert np.array_equal(item.pixels[..., 0], item.labels * 100)
            shown = set(np.unique(item.pixels[..., 1]).tolist())
            own = int(sample.group) % 2
            assert all(number % 2 == own for number in shown), "of one kind of tissue"
            objects = np.unique(item.instances[item.labels == 1])
            assert 0 not in objects
            assert ((item.instances > 0) == (item.labels == 1)).all()
            sides.append(max(item.labels.shape))
            assert np.array_equal(sample.read().pixels, item.pixels), "the same whenever it is read"
        assert min(sides) < 150
        assert sides.count(384) >= 3, "a fifth are as large as allowed"
        assert max(sides) == 384
        stained = random_mosaics(samples, 1, config, stain_jitter=1.0)[0].read()
        assert not np.array_equal(stained.pixels[..., 0], stained.labels * 100)

    def test_whole_mosaics_of_any_grid_show_the_same_images(self):
        samples = [coded_sample(number) for number in range(44)]
        by_grid = {grid: whole_mosaics(samples, grid, 16) for grid in (1, 2, 4)}
        assert {grid: len(made) for grid, made in by_grid.items()} == {1: 32, 2: 8, 4: 2}
        for grid, made in by_grid.items():
            assert all(sample.read().labels.shape == (96 * grid, 96 * grid) for sample in made)
        shown = [
            {int(v) for sample in made for v in np.unique(sample.read().pixels[..., 1])}
            for made in by_grid.values()
        ]
        assert shown[0] == shown[1] == shown[2]

    def test_a_mosaic_larger_than_a_tile_is_shrunk(self):
        item = Mosaic(tuple(coded_sample(number, 600) for number in range(4)), 2.0)(coded_sample(0))
        assert item.labels.shape == item.pixels.shape[:2] == (1024, 1024)
        assert np.array_equal(item.pixels[..., 0], item.labels * 100)
        ids, counts = np.unique(item.instances, return_counts=True)
        assert len(ids) == 5
        assert counts[1:] == pytest.approx([(300 * 1024 / 1200) ** 2] * 4, rel=0.02)

    def test_mosaics_are_trained_and_validated_on(self, folder, tmp_path):
        config = TrainingConfig(epochs=1, mosaics=6, smallest_scale=0.5)
        dataset = open_dataset(folder)
        data = load_head(train(dataset, "cnn", config, patch_model(), tmp_path / "h.safetensors")).metadata
        sizes = {name: len(dataset.split(name)) for name in ("train", "val")}
        assert data.data["trained_on"] == sizes["train"] + 6
        assert data.data["chosen_on"] == sizes["val"] + math.ceil(6 * sizes["val"] / sizes["train"])
        assert data.data["tile_px"] == 96, "the head runs on tiles as large as an image"
        assert data.metrics["chosen_on"] == "val, with mosaics"

    def test_a_head_is_scored_on_the_same_tissue_at_several_scales(self, trained):
        _, head = trained
        samples = tuple(dataclasses.replace(coded_sample(number), split="val") for number in range(36))
        dataset = Dataset("coded", samples, (BACKGROUND, DISC), {0: 0, 1: 1})
        scores = run(score_scales(load_head(head()), dataset, "val", patch_model()))
        assert [(score.side_px, score.tiles) for score in scores] == [(96, 32), (192, 8), (384, 2)]
        assert [round(score.scale, 1) for score in scores] == [10.7, 5.3, 2.7]
        assert [score.baseline for score in scores] == pytest.approx([0.4] * 3)

    def test_mosaics_need_a_smallest_scale(self):
        with pytest.raises(ConfigError, match="smallest_scale is 1"):
            TrainingConfig(mosaics=5)

    def test_a_head_can_read_pixels(self, folder):
        dataset, model = open_dataset(folder), patch_model()
        tiles = TileSet(dataset, model, model.store)
        run(tiles.add_job(dataset.samples[:2], "none", ""))
        maps, _ = tiles.batch(tiles.tiles, ["embedding", "image"])
        assert maps["image"].shape == (2, 3, 1024, 1024)
        small_maps, _ = tiles.batch(tiles.tiles, ["image"], np.random.default_rng(0), 16)
        assert small_maps["image"].shape == (2, 3, 256, 256)
        encoded = model.encoder(maps["image"])["embedding"]
        torch.testing.assert_close(encoded, maps["embedding"], rtol=1e-2, atol=1e-2)


class TestAround:
    def test_log_contains_loss_and_dice_by_class(self, folder, tmp_path):
        reports = []
        path = train(
            open_dataset(folder), "cnn", RECIPE, patch_model(), tmp_path / "h.safetensors", reports.append
        )
        with path.with_suffix(".csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
        ends = [r for r in reports if isinstance(r, TrainingProgress) and "validation" in r.message]
        assert [float(row["loss"]) for row in rows] == [r.loss for r in ends]
        assert [float(row["dice disc"]) for row in rows] == [r.class_dice["disc"] for r in ends]
        assert all(r.eta_s is not None and r.eta_s >= 0 for r in ends)

    def test_training_on_one_slide_warns(self, tmp_path, caplog):
        made = DatasetFolder.create(tmp_path / "one", [DISC])
        for number in range(3):
            made.save_image(Snapshot(f"p{number}", *disc_image(number)), group="slide 1")
        path = train(made.path, "cnn", RECIPE, patch_model(), tmp_path / "h.safetensors")
        assert "no slide or case to validate on" in caplog.text
        assert "because there is no other slide" in load_head(path).metadata.metrics["chosen_on"]

    def test_unverified_pixels_are_ignored(self, tmp_path):
        made = DatasetFolder.create(tmp_path / "d", [DISC])
        pixels, labels = disc_image(0)
        annotated = np.zeros(labels.shape, bool)
        annotated[:40] = True
        made.save_image(Snapshot("p", pixels, labels, verified=annotated, mpp=0.25))
        dataset = open_dataset(made.path)
        targets = dataset.read(dataset.samples[0]).targets
        assert (targets[40:] == IGNORED).all()
        np.testing.assert_array_equal(targets[:40], labels[:40])
        assert dataset.mpp == 0.25

    @pytest.mark.parametrize(("augmentation", "tiles"), [("none", 8), ("dihedral", 6 * 8 + 2), ("pixels", 2)])
    def test_warns_first_that_the_store_is_too_small(self, folder, tmp_path, caplog, augmentation, tiles):
        config = dataclasses.replace(RECIPE, epochs=1, augmentation=augmentation)
        tile = 8 * 64 * 64 * 2
        for room, words in ((tiles * tile, ""), (tiles * tile - 1, "SAMPATH_CACHE_LIMIT_BYTES")):
            caplog.clear()
            model = patch_model()
            model.store = Store(MemoryTier(room))
            job = train_job(open_dataset(folder), "cnn", config, model, tmp_path / "h.safetensors")
            while not model.encoder.passes:
                next(job)
            warning = caplog.text
            job.close()
            assert words in warning
            assert bool(warning) == bool(words)
        assert f"{tiles * tile:,} bytes" in warning
        assert f"the cache is limited to {tiles * tile - 1:,}" in warning

    @pytest.mark.parametrize("count", [3, 4])
    def test_unbalanced_epochs_use_every_tile_once(self, folder, tmp_path, monkeypatch, count):
        seen, batch = [], TileSet.batch

        def note(self, chosen, *rest, **named):
            if rest[1:]:  # Only training batches are cut at random.
                seen.append([tile.sample.name for tile in chosen])
            return batch(self, chosen, *rest, **named)

        monkeypatch.setattr(TileSet, "batch", note)
        config = dataclasses.replace(RECIPE, balanced=False, epochs=2, batch_size=count)
        dataset = open_dataset(folder)
        train(dataset, "cnn", config, patch_model(), tmp_path / "h.safetensors")
        steps = len(seen) // 2
        epochs = [list(itertools.chain(*seen[:steps])), list(itertools.chain(*seen[steps:]))]
        for names in epochs:
            assert sorted(names) == sorted(sample.name for sample in dataset.split("train"))
        assert epochs[0] != epochs[1]

    def test_a_full_disk_leaves_the_previous_bundle(self, folder, small, caplog):
        path = small / "h.safetensors"
        path.write_bytes(b"old")
        (small / "filler").write_bytes(bytes(small_disk.SIZE_BYTES - 8192))
        with pytest.raises(StorageError, match=r"h\.safetensors"):
            train(open_dataset(folder), "cnn", RECIPE, patch_model(), path)
        assert path.read_bytes() == b"old"
        assert "No more checkpoints are written" in caplog.text
        assert not list(small.glob("*.part"))

    def test_global_random_state_does_not_affect_training(self, folder, tmp_path):
        paths = [tmp_path / "a" / "h.safetensors", tmp_path / "b" / "h.safetensors"]
        train(open_dataset(folder), "cnn", RECIPE, patch_model(), paths[0])
        train(open_dataset(folder), "cnn", RECIPE, patch_model(), paths[1], lambda _: torch.rand(3))
        assert paths[0].read_bytes() == paths[1].read_bytes()

    def test_nothing_is_logged_as_a_warning(self, folder, tmp_path, caplog):
        with caplog.at_level(logging.WARNING):
            train(open_dataset(folder), "cnn", RECIPE, patch_model(), tmp_path / "h.safetensors")
        assert not caplog.records
