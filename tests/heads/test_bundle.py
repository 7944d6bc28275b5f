"""Bundles are written atomically, read without running code, and rejected if they do not fit."""

from __future__ import annotations

import json
import struct

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_sampath.arrays import ClassInfo, FeatureMap, FeatureSpec
from napari_sampath.errors import StorageError, UnknownNameError, WeightsError, WeightsMissingError
from napari_sampath.heads import EncoderRef, Metadata, create, list_bundles, load_head, save_bundle

SPEC = FeatureSpec((FeatureMap("embedding", 6, "patches"),))
CLASSES = (ClassInfo(0, "background", (0, 0, 0)), ClassInfo(1, "drüse", (200, 30, 1)))
METADATA = Metadata(
    name="small",
    encoders=(EncoderRef("patches", "abc123", 2),),
    mpp=0.5,
    training={"epochs": 3, "augmentation": "none"},
    metrics={"mean_iou": 0.5, "per_class": {"gland": None}},
    data={"images": 4},
    licence="CC-BY-4.0",
    attribution="Somebody et al. 2020",
)


def make_head(kind="cnn", **arguments):
    torch.manual_seed(3)
    return create(kind, SPEC, CLASSES, **(arguments or {"top_channel": 3, "norm": True}))


@pytest.fixture
def bundle(tmp_path):
    return save_bundle(tmp_path / "small.safetensors", make_head(), METADATA)


def rewrite(path, change):
    """Change the JSON metadata of a bundle and keep its tensors."""
    with safetensors.safe_open(path, framework="pt") as file:
        content = json.loads(file.metadata()["sampath_bundle"])
    change(content)
    metadata = {"sampath_bundle": json.dumps(content)}
    path.write_bytes(safetensors.torch.save(safetensors.torch.load_file(path), metadata))


@pytest.mark.parametrize(
    ("kind", "arguments"), [("cnn", {"depth": 3, "top_channel": 2}), ("linear", {"final_relu": True})]
)
def test_round_trip(tmp_path, kind, arguments):
    head = make_head(kind, **arguments).eval()
    loaded = load_head(save_bundle(tmp_path / "h.safetensors", head, METADATA))
    assert loaded.metadata == METADATA
    assert loaded.classes == CLASSES
    assert loaded.head.spec == SPEC
    assert loaded.head.arguments == head.arguments
    assert not loaded.head.training
    maps = {"embedding": torch.randn(1, 6, 8, 8)}
    assert torch.equal(loaded.head(maps), head(maps))


def test_class_0_of_earlier_versions_is_read_as_background(bundle):
    def make_old(content):
        content["classes"][0]["name"] = "rest"
        content["metrics"] = {"head": {"pooled": {"rest": {"iou": 0.5}, "mean": {"iou": 0.4}}}}
        content["data"] = {"classes": ["rest", "drüse"], "images": 4}

    rewrite(bundle, make_old)
    loaded = load_head(bundle)
    assert loaded.classes == CLASSES
    assert loaded.metadata.metrics == {"head": {"pooled": {"background": {"iou": 0.5}, "mean": {"iou": 0.4}}}}
    assert loaded.metadata.data == {"classes": ["background", "drüse"], "images": 4}


@pytest.mark.parametrize("name", ["background", "Background"])
def test_class_0_keeps_its_name_if_another_class_is_called_background(bundle, name):
    def make_old(content):
        content["classes"][0]["name"], content["classes"][1]["name"] = "rest", name

    rewrite(bundle, make_old)
    assert [info.name for info in load_head(bundle).classes] == ["rest", name]


def test_half_precision_halves_the_size_and_changes_little(tmp_path):
    head = make_head().eval()
    full = save_bundle(tmp_path / "full.safetensors", head, METADATA)
    half = save_bundle(tmp_path / "half.safetensors", head, METADATA, half=True)
    assert half.stat().st_size < 0.65 * full.stat().st_size
    loaded = load_head(half).head
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    maps = {"embedding": torch.randn(1, 6, 8, 8)}
    difference = (loaded(maps) - head(maps)).abs().max() / head(maps).std()
    assert 0 < difference < 0.02


def test_same_head_gives_the_same_bytes(tmp_path, bundle):
    again = save_bundle(tmp_path / "again.safetensors", make_head(), METADATA)
    assert again.read_bytes() == bundle.read_bytes()


def test_another_encoder_is_rejected(bundle):
    loaded = load_head(str(bundle))
    loaded.check_encoder("patches", "abc123", 2)
    with pytest.raises(WeightsError, match="load 'patches', or train a head for 'vit_b'"):
        loaded.check_encoder("vit_b", "abc123", 2)
    with pytest.raises(WeightsError, match=r"abc123.*def456.*train the head again"):
        loaded.check_encoder("patches", "def456", 2)
    with pytest.raises(WeightsError):
        loaded.check_encoder("patches", "abc123", 3)


def test_shipped_and_unknown_names():
    with pytest.raises(UnknownNameError, match="no trained head 'glnd'"):
        load_head("glnd")
    with pytest.raises(WeightsMissingError, match=r"nowhere\.safetensors"):
        load_head("nowhere.safetensors")
    for name in list_bundles():
        loaded = load_head(name)
        assert loaded.name == name
        assert loaded.metadata.licence
        assert loaded.metadata.attribution


def test_files_that_are_not_bundles_are_rejected(tmp_path):
    nothing = tmp_path / "empty.safetensors"
    nothing.write_bytes(b"")
    text = tmp_path / "text.safetensors"
    text.write_text("no tensors here")
    plain = tmp_path / "plain.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, plain)
    pickled = tmp_path / "pickled.pth"
    torch.save({"a": torch.zeros(2)}, pickled)
    for path in (nothing, text, plain, pickled, tmp_path):
        with pytest.raises(WeightsError, match=path.name):
            load_head(path)


@given(share=st.floats(0, 0.999))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_truncated_files_are_rejected(bundle, share):
    content = bundle.read_bytes()
    cut = bundle.with_name("cut.safetensors")
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match="cut"):
        load_head(cut)


@given(position=st.floats(0, 0.999), value=st.integers(0, 255))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_altered_header_raises_or_changes_nothing_in_the_shape(bundle, position, value):
    content = bytearray(bundle.read_bytes())
    length = struct.unpack("<Q", content[:8])[0]
    content[int(position * (8 + length))] = value
    altered = bundle.with_name("altered.safetensors")
    altered.write_bytes(content)
    try:
        outcome = load_head(altered).head({"embedding": torch.zeros(1, 6, 4, 4)}).shape
    except WeightsError as error:
        outcome = str(error)
    if isinstance(outcome, str):
        assert "altered" in outcome
        assert "\n" not in outcome
    else:
        assert outcome == (1, 2, 16, 16)


CHANGES = {
    "newer version": lambda c: c.update(schema=2),
    "no version": lambda c: c.pop("schema"),
    "unknown kind": lambda c: c["head"].update(kind="os.system"),
    "another known kind": lambda c: c["head"].update(kind="linear", arguments={}),
    "unknown argument": lambda c: c["head"]["arguments"].update(run="rm"),
    "argument of another type": lambda c: c["head"]["arguments"].update(depth="2"),
    "another width": lambda c: c["head"]["arguments"].update(top_channel=4),
    "too many channels": lambda c: c["features"][0].update(channels=10**12),
    "negative channels": lambda c: c["features"][0].update(channels=-6),
    "unknown map": lambda c: c["features"][0].update(name="embeddinG"),
    "no features": lambda c: c.update(features=[]),
    "one class more": lambda c: c["classes"].append({"id": 9, "name": "x", "color": [1, 2, 3]}),
    "duplicate class": lambda c: c["classes"].__setitem__(1, c["classes"][0]),
    "colour out of range": lambda c: c["classes"][0].update(color=[0, 0, 256]),
    "colour of two values": lambda c: c["classes"][0].update(color=[0, 0]),
    "no encoder": lambda c: c.update(encoders=[]),
    "encoders of another type": lambda c: c.update(encoders=5),
    "mpp": lambda c: c.update(mpp=-1),
    "metrics": lambda c: c.update(metrics=3),
    "missing key": lambda c: c.pop("head"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_altered_metadata_is_rejected(bundle, change):
    rewrite(bundle, change)
    with pytest.raises(WeightsError, match=r"small\.safetensors") as caught:
        load_head(bundle)
    assert "\n" not in str(caught.value)


def test_metadata_that_is_not_an_object_is_rejected(bundle):
    for text in ("", "[]", "5", "{", "null", "[" * 100_000):
        tensors = safetensors.torch.load_file(bundle)
        bundle.write_bytes(safetensors.torch.save(tensors, {"sampath_bundle": text}))
        with pytest.raises(WeightsError, match=r"small\.safetensors"):
            load_head(bundle)


def test_weights_that_are_not_finite_are_not_saved(tmp_path, bundle):
    head = make_head()
    with torch.no_grad():
        head.final[1].bias[0] = float("nan")
    kept = bundle.read_bytes()
    with pytest.raises(WeightsError, match="not finite"):
        save_bundle(bundle, head, METADATA)
    assert bundle.read_bytes() == kept
    with torch.no_grad():
        head.final[1].bias[0] = 1e6
    with pytest.raises(WeightsError, match="not finite"):
        save_bundle(bundle, head, METADATA, half=True)


def test_failed_write_keeps_the_old_bundle(bundle, monkeypatch):
    import errno
    import os

    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = bundle.read_bytes()
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="free some space"):
        save_bundle(bundle, make_head("linear", final_relu=True), METADATA)
    assert bundle.read_bytes() == kept
    assert sorted(p.name for p in bundle.parent.iterdir()) == ["small.safetensors"]


def test_wrong_ending_is_rejected(tmp_path):
    with pytest.raises(WeightsError, match=r"\.safetensors"):
        save_bundle(tmp_path / "head.pth", make_head(), METADATA)


def test_every_flipped_bit_is_found(bundle):
    """A flipped bit in a weight is usually a valid number, and one in the description a valid name."""
    content = bundle.read_bytes()
    for position in range(8, len(content), 97):
        damaged = bytearray(content)
        damaged[position] ^= 1
        copy = bundle.with_name("flipped.safetensors")
        copy.write_bytes(damaged)
        with pytest.raises(WeightsError, match="flipped"):
            load_head(copy)


def test_bundles_of_earlier_versions_have_no_digest(bundle, caplog):
    """They are read, and that damage cannot be detected is said once."""
    rewrite(bundle, lambda content: None)
    for _ in range(2):
        assert load_head(bundle).metadata == METADATA
    messages = [record.message for record in caplog.records if "has no digest" in record.message]
    assert len(messages) == 1
    caplog.clear()
    load_head(save_bundle(bundle, make_head(), METADATA))
    assert not caplog.records


VALUES = [None, 3, -1, 0.5, 1e308, "x", "\0", [], {}, [[]], [None], [{}], True, 2**62]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize(
    "path",
    [
        *("schema", "head", "features", "classes", "name", "encoders", "mpp", "training", "metrics", "data"),
        *("licence", "attribution", "head.kind", "head.arguments", "head.arguments.depth"),
        *("head.arguments.top_channel", "head.arguments.norm", "head.arguments.classes", "features.0"),
        *("features.0.name", "features.0.channels", "features.0.encoder", "classes.0", "classes.1.id"),
        *("classes.1.name", "classes.1.color", "classes.1.color.0", "encoders.0", "encoders.0.name"),
        *("encoders.0.weights_digest", "encoders.0.preprocessing_version"),
    ],
)
def test_any_value_in_the_description_gives_a_head_or_one_sentence(bundle, path, value):
    def change(content):
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            content = content[part]
        content[last] = value

    rewrite(bundle, change)
    text = ""
    try:
        load_head(bundle)
    except WeightsError as error:
        text = str(error)
    assert "\n" not in text
    assert not text or text.endswith(".")


@pytest.mark.parametrize("index", [-1000, -1, 7, 1_000_000])
@pytest.mark.parametrize("name", ["left", "right", "feature"])
def test_trees_refer_to_existing_nodes_and_features(tmp_path, name, index):
    head = make_head("forest", trees=3, depth=3, nodes=7)
    path = save_bundle(tmp_path / "forest.safetensors", head, METADATA)
    load_head(path)
    getattr(head, name)[1, 2] = index
    save_bundle(path, head, METADATA)
    with pytest.raises(WeightsError, match=f"'{name}' of a tree"):
        load_head(path)


def test_types_of_tensors_are_checked(bundle):
    state = safetensors.torch.load_file(bundle)
    with safetensors.safe_open(bundle, framework="pt") as file:
        text = file.metadata()["sampath_bundle"]
    key = sorted(state)[0]
    for dtype in (torch.int32, torch.complex64, torch.bool):
        changed = state | {key: state[key].to(dtype)}
        try:
            content = safetensors.torch.save(changed, {"sampath_bundle": text})
        except KeyError:  # Early versions of safetensors do not write complex numbers.
            assert dtype == torch.complex64
            continue
        bundle.write_bytes(content)
        with pytest.raises(WeightsError, match="has type"):
            load_head(bundle)
