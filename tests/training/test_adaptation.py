"""Adaptation of the prompt decoder to committed objects: examples, rounds, the process, and what is saved."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
import torch

from napari_sampath.annotations import AnnotatedObject
from napari_sampath.arrays import LocalMask
from napari_sampath.cli import main
from napari_sampath.errors import ConfigError, DatasetError, WeightsError
from napari_sampath.jobs import run
from napari_sampath.predict import Model, load_model
from napari_sampath.session import Session
from napari_sampath.training.prompts.adaptation.adapt import (
    PADDING,
    AdaptationConfig,
    adapt_job,
    recorded_prompts,
)
from napari_sampath.training.prompts.adaptation.dataset import adapt
from napari_sampath.training.prompts.adaptation.decoders import AdaptedDecoders
from napari_sampath.training.prompts.adaptation.examples import (
    ExampleTile,
    RecordedObject,
    collect_job,
    sample_tiles,
)
from napari_sampath.training.prompts.adaptation.process import Round, adapt_in_process_job

if TYPE_CHECKING:
    from pathlib import Path

HW = (192, 256)
CENTRES = [(row, col) for row in (40, 96, 152) for col in (40, 100, 160, 220)]
QUICK = AdaptationConfig(steps=1, objects=1, measured=1, least_held_back=1, old_share=0.0)


def disc(number: int) -> LocalMask:
    row, col = CENTRES[number]
    rows, cols = np.mgrid[: HW[0], : HW[1]]
    return LocalMask.from_dense((rows - row) ** 2 + (cols - col) ** 2 <= 14**2)


def clicked(number: int, **fields: object) -> AnnotatedObject:
    """An object made with a click inside it and one outside."""
    row, col = CENTRES[number]
    prompts = {"points": [[col, row], [col + 20, row]], "labels": [1, 0], "box": None, "mask": False}
    return replace(AnnotatedObject(number + 1, 1, "point", prompts=prompts), **fields)  # type: ignore[arg-type]


@cache
def pixels() -> np.ndarray:
    image = np.full((*HW, 3), (225, 170, 205), np.uint8)
    for number in range(len(CENTRES)):
        image[disc(number).to_dense(HW)] = (95, 60, 140)
    return image


def new_model() -> Model:
    return load_model("sampath-tiny", device="cpu")


@cache
def tiles() -> tuple[ExampleTile, ...]:
    """The discs as examples; the image in the key decides which are held back."""
    model = new_model()
    objects = [RecordedObject.of(clicked(n), disc(n), "image") for n in range(len(CENTRES))]
    found = [example for example in objects if example is not None]
    return tuple(run(collect_job(found, HW, lambda frame: model.encode(pixels(), frame))))


@pytest.mark.parametrize(
    ("obj", "mask"),
    [
        (clicked(0, prompts={}), disc(0)),
        (clicked(0, source="head"), disc(0)),
        (clicked(0, unsure=True), disc(0)),
        (clicked(0), disc(1)),
        (clicked(0, prompts={"points": [[40, 40]], "labels": []}), disc(0)),
        (clicked(0), LocalMask(0, 0, np.zeros((2, 2), bool))),
    ],
    ids=["no prompts", "not reviewed", "unsure", "edited since", "damaged prompts", "empty"],
)
def test_objects_that_do_not_match_their_prompts_are_left_out(obj: AnnotatedObject, mask: LocalMask) -> None:
    assert RecordedObject.of(obj, mask, "image") is None
    assert RecordedObject.of(clicked(0, source="head", reviewed=True), disc(0), "image") is not None


def test_examples_are_in_pixels_of_the_encoders_input_and_a_part_is_held_back() -> None:
    (tile,) = tiles()
    scale = 1024 / 256
    assert len(tile.examples) == len(CENTRES)
    for (row, col), example in zip(CENTRES, tile.examples, strict=True):
        np.testing.assert_allclose(
            example.points_xy, [[col * scale, row * scale], [(col + 20) * scale, row * scale]]
        )
        assert example.labels.tolist() == [1, 0]
        assert example.target[int(row * scale / 4), int(col * scale / 4)]
        assert not example.target[int(row * scale / 4), int((col + 20) * scale / 4)]
    assert 0 < len(tile.trained) < len(CENTRES)
    keys = [RecordedObject.of(clicked(0), disc(0), str(image)) for image in range(2000)]
    assert np.mean([key is not None and key.held_back for key in keys]) == pytest.approx(0.25, abs=0.03)


def test_recorded_corrections_are_first_prompts_as_given() -> None:
    (tile,) = tiles()
    window, rng = tile.window(), np.random.default_rng(0)
    seen = set()
    for _ in range(20):
        first = recorded_prompts(window, tile.trained[:3], [1, 2, 3], rng)
        for example, points, labels, target in zip(
            tile.trained, first.points, first.labels, first.targets, strict=False
        ):
            given = [label for label in labels if label != PADDING]
            assert given == [1, 0][: len(given)]
            np.testing.assert_array_equal(points[: len(given)], example.points_xy[: len(given)])
            np.testing.assert_array_equal(target, example.target)
            seen.add(len(given))
        assert len({len(points) for points in first.points}) == 1
    assert seen == {1, 2}, "with and without the correction"


def test_a_round_changes_only_a_copy_of_the_decoder_and_averages_it_with_the_old_one() -> None:
    model = new_model()
    assert model.decoder is not None
    parts = model.decoder.prompt_encoder, model.decoder.mask_decoder
    before = {key: value.clone() for key, value in model.decoder.state_dict().items()}
    old = sample_tiles(model)
    config = replace(QUICK, steps=2, old_share=0.5)
    trained, halfway, same = (
        run(adapt_job(*parts, None, tiles(), old, replace(config, average=share)))
        for share in (1.0, 0.5, 0.0)
    )
    for key, value in model.decoder.state_dict().items():
        assert torch.equal(value, before[key])
    key = "output_hypernetworks_mlps.0.layers.0.weight"
    start = before[f"mask_decoder.{key}"]
    assert not torch.equal(trained.weights[key], start)
    torch.testing.assert_close(halfway.weights[key], (trained.weights[key] + start) / 2)
    assert torch.equal(same.weights[key], start)
    assert same.better
    assert same.original == same.before == same.after
    assert same.objects + len(tiles()[0].examples) - len(tiles()[0].trained) == len(CENTRES)


def test_too_few_objects_raise_one_sentence() -> None:
    model = new_model()
    assert model.decoder is not None
    parts = model.decoder.prompt_encoder, model.decoder.mask_decoder
    few = replace(tiles()[0], examples=tiles()[0].examples[:2])
    with pytest.raises(DatasetError, match="annotate until there are at least 6 and 3"):
        run(adapt_job(*parts, None, [few]))


def test_the_process_gives_the_same_result_and_ends_when_the_job_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = new_model()
    assert model.decoder is not None
    inline = run(
        adapt_job(model.decoder.prompt_encoder, model.decoder.mask_decoder, None, tiles(), (), QUICK)
    )
    task = replace(Round.of(model.decoder, tiles(), (), QUICK), threads=torch.get_num_threads(), nice=1)
    others = psutil.Process().children()

    def children() -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if child not in others]

    job = adapt_in_process_job(task)
    next(job)
    if hasattr(psutil, "IDLE_PRIORITY_CLASS"):
        assert any(child.nice() == psutil.IDLE_PRIORITY_CLASS for child in children())
    else:
        assert any(child.nice() == 1 for child in children())
    apart = run(job)
    assert (apart.before, apart.after, apart.objects) == (inline.before, inline.after, inline.objects)
    for key, value in inline.weights.items():
        torch.testing.assert_close(apart.weights[key], value, rtol=1e-3, atol=1e-5)
    assert not children()

    job = adapt_in_process_job(replace(task, config=replace(QUICK, steps=10**6, seconds=1e6)))
    next(job)
    assert children()
    job.close()
    assert not children()
    monkeypatch.setattr("sys.executable", "/no/such/python")
    with pytest.raises(ConfigError, match="switch the adaptation off"):
        run(adapt_in_process_job(task))


@pytest.fixture(scope="module")
def adapted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of objects made with clicks, and a decoder that is adapted to them."""
    folder = tmp_path_factory.mktemp("adapted") / "set"
    annotated(folder)
    assert adapt(folder, new_model(), replace(QUICK, average=0.0), rounds=1) is not None
    return folder


def annotated(folder: Path) -> None:
    """Save a session whose objects were made with prompts as a training sample."""
    session = Session(pixels(), "tile", new_model())
    for row, col in CENTRES:
        session.prompts.add_point(col, row)
        request = session.prompts.request()
        assert request is not None
        session.prompts.accept(session.prompts.answerer.answer(request))
        session.commit()
    session.files.save_to_dataset(folder)
    session.close()


def test_a_model_is_adapted_to_a_dataset_from_python_and_the_shell(
    adapted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, model = shutil.copytree(adapted, tmp_path / "set"), new_model()
    original = model.decoder
    record = adapt(folder, model, replace(QUICK, average=0.0), rounds=1)
    assert record is not None
    assert record.rounds == 2
    assert record.clicks_before == record.clicks_after
    assert "-> " in record.text
    assert model.decoder is not None
    assert model.decoder.original is original
    assert model.decoder is not original

    # Another program uses it, switches it off, and back on.
    decoders, other = AdaptedDecoders(folder), new_model()
    assert decoders.apply(other) == record
    assert other.decoder is not None
    assert other.decoder is not other.decoder.original
    off = decoders.switch(record, on=False)
    assert AdaptedDecoders(folder).apply(other) == off
    assert other.decoder is other.decoder.original
    assert [path.name for path in (folder / "decoders").glob("*.safetensors")] == [record.file]

    weights = tmp_path / "own.safetensors"
    words = [
        "tune",
        "--from-dataset",
        str(folder),
        "--rounds",
        "1",
        "--steps",
        "1",
        "-o",
        str(weights),
        "--device",
        "cpu",
        "--json",
    ]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["adapted"]["model"] == "sampath-tiny"
    own = load_model("sampath-tiny", device="cpu", weights=weights)
    assert own.encoder.weights_digest == other.encoder.weights_digest
    assert AdaptedDecoders(folder).apply(own) is None, "its decoder is another one"
    assert own.decoder is not None
    assert own.decoder is own.decoder.original


def test_damaged_and_missing_decoders_raise_one_sentence(adapted: Path, tmp_path: Path) -> None:
    folder, model = shutil.copytree(adapted, tmp_path / "set"), new_model()
    (record,) = AdaptedDecoders(folder).records
    file = folder / "decoders" / record.file
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(WeightsError, match="cannot be read"):
        AdaptedDecoders(folder).apply(model)
    index = folder / "decoders" / "decoders.json"
    stored = json.loads(index.read_text())
    for damaged in (
        "{",
        json.dumps(stored | {"schema": 9}),
        json.dumps(stored | {"decoders": [stored["decoders"][0] | {"file": "../x"}]}),
    ):
        index.write_text(damaged)
        with pytest.raises(WeightsError, match=r"decoders\.json"):
            AdaptedDecoders(folder)
    assert model.decoder is not None
    with pytest.raises(WeightsError, match="does not fit"):
        model.decoder.with_weights({"x": torch.zeros(1)})


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--from-dataset", "{empty}"], "dataset"),
        (["--from-dataset", "{empty}", "--rounds", "0"], "--rounds is 0"),
        (["--from-dataset", "{empty}", "-o", "weights.txt"], "weights.txt"),
        (["-o", "x.safetensors"], "--data is missing"),
    ],
)
def test_tune_explains_what_is_missing(
    words: list[str],
    text: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SAMPATH_DATA", raising=False)
    assert main(["tune", *(word.format(empty=tmp_path) for word in words)]) != 0
    assert text in capsys.readouterr().err
