"""All registered heads in one parametrised test, and the checks of their arguments."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch.nn import functional

from napari_sampath import load_model
from napari_sampath.arrays import IMAGE, ClassInfo, FeatureMap, FeatureSpec
from napari_sampath.errors import ConfigError, DatasetError, UnknownNameError, WeightsError
from napari_sampath.heads import (
    DirectHead,
    EncoderRef,
    Head,
    Metadata,
    create,
    list_heads,
    load_head,
    registry,
    save_bundle,
    stack_maps,
)
from napari_sampath.heads.sampath import VARIANTS as VARIANT_NAMES
from napari_sampath.training.heads.losses import focal_dice, match_targets

EMBEDDING = FeatureMap("embedding", 256, "a")
SPECS = {
    "one map": FeatureSpec((FeatureMap("embedding", 12, "a"),)),
    "two maps": FeatureSpec((FeatureMap("embedding", 8, "a"), FeatureMap("tokens", 5, "b"))),
    "embedding": FeatureSpec((EMBEDDING,)),
    "pair": FeatureSpec((EMBEDDING, FeatureMap("tokens", 6, "a"), FeatureMap("b.tokens", 5, "b"))),
}
CLASSES = (
    ClassInfo(0, "background", (0, 0, 0)),
    ClassInfo(3, "gland", (255, 0, 0)),
    ClassInfo(7, "fat", (0, 9, 9)),
)
ANY = ("one map", "two maps")
VARIANTS = [
    *[("cnn", {"depth": 2, "top_channel": 4}, spec) for spec in ANY],
    ("cnn", {"depth": 3, "top_channel": 4}, "one map"),
    ("cnn", {"depth": 4, "top_channel": 4}, "two maps"),
    ("cnn", {"depth": 5, "top_channel": 3}, "two maps"),
    ("cnn", {"depth": 2, "top_channel": 4, "norm": True}, "two maps"),
    *[("linear", {}, spec) for spec in ANY],
    ("linear", {"final_relu": True}, "two maps"),
    ("forest", {"trees": 40}, "two maps"),
    ("instance", {"width": 8}, "two maps"),
    ("sampath", {}, "embedding"),
    ("sampath", {}, "pair"),
    ("sampath", {"unused_tokens": 2}, "embedding"),
    ("sampath", {"variant": "sam_only"}, "embedding"),
    ("sampath", {"variant": "pathology_only"}, "pair"),
    ("sampath", {"variant": "plus"}, "pair"),
    ("autosam", {}, "embedding"),
    ("autosam", {"sam_position": False}, "pair"),
    ("prompt_generator", {}, "embedding"),
    ("prompt_generator", {"backbone": "hardnet39ds", "as_reference": True}, "embedding"),
    ("surrogate", {}, "embedding"),
    ("unet", {}, "one map"),
]
NAMES = [
    " ".join((kind, *(f"{k}={v}" for k, v in args.items()), "on", spec)) for kind, args, spec in VARIANTS
]
SIDES = {("cnn", 3): 2, ("cnn", 5): 8, ("forest", None): 1}
"""Logits per feature cell along a side, where it is not 4."""


def features(spec: FeatureSpec, batch: int = 2, side: int = 64, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return random maps and a matching image, independent of which of them the head reads."""
    generator = torch.Generator().manual_seed(seed)
    maps = {m.name: torch.randn(batch, m.channels, side, side, generator=generator) for m in spec.maps}
    coarse = torch.randn(batch, 3, 2 * side, 2 * side, generator=generator)
    return maps | {IMAGE: functional.interpolate(coarse, (16 * side, 16 * side), mode="bilinear")}


@pytest.fixture(scope="module")
def sam() -> dict[str, torch.Tensor]:
    """Return the trained prompt decoder that ships with the package, under SAM's names."""
    decoder = load_model("sampath-tiny", device="cpu").decoder
    return {key: value.clone() for key, value in decoder.state_dict().items()}


def build(kind, arguments, spec, sam) -> Head:
    """Build a head as training does."""
    torch.manual_seed(1)
    head = create(kind, SPECS[spec], CLASSES, **arguments)
    head.init_from_sam(sam)
    return head


def labels_of(head, maps, seed=5):
    """Return random patches of labels at the size of the logits, which can only be memorised."""
    size = head(maps).shape[-1]
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randint(0, 3, (len(maps[IMAGE]), 1, 4, 4), generator=generator)
    return functional.interpolate(patches.float(), (size, size), mode="nearest")[:, 0].long()


def trained(head) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in head.named_parameters() if p.requires_grad}


def loss_of(head, maps, labels):
    """Compute the loss that uses every output of a head."""
    logits, iou = head.forward_with_iou(maps)
    return focal_dice(match_targets(logits, labels), labels, iou=iou, ce_weight=1.0).total


def test_every_kind_is_tested():
    assert {kind for kind, _, _ in VARIANTS} == set(list_heads())


@pytest.mark.parametrize(("kind", "arguments", "spec"), VARIANTS, ids=NAMES)
class TestEveryHead:
    @pytest.mark.parametrize("side", [64, 16])
    def test_shapes(self, kind, arguments, spec, sam, side):
        head = build(kind, arguments, spec, sam).eval()
        factor = SIDES.get((kind, arguments.get("depth")), 4)
        with torch.inference_mode():
            logits = head(features(SPECS[spec], batch=1 if side == 64 else 2, side=side))
        assert logits.shape == (1 if side == 64 else 2, len(CLASSES), side * factor, side * factor)
        assert logits.dtype == torch.float32

    def test_gradients_reach_exactly_the_trained_parameters(self, kind, arguments, spec, sam):
        head = build(kind, arguments, spec, sam).train()
        if isinstance(head, DirectHead):
            assert not list(head.parameters())
            return
        maps = features(SPECS[spec], side=16)
        before = {key: value.clone() for key, value in head.state_dict().items()}
        loss_of(head, maps, labels_of(head, maps)).backward()
        wanted = trained(head)
        assert [n for n, p in wanted.items() if p.grad is None or not p.grad.any()] == []
        assert [n for n, p in head.named_parameters() if p.grad is not None and n not in wanted] == []
        torch.optim.AdamW(head.parameters(), lr=0.1).step()
        after = head.state_dict()
        statistics = ("running_mean", "running_var", "num_batches_tracked")
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        assert {key for key in changed if not key.endswith(statistics)} == set(wanted)

    def test_every_map_changes_the_output(self, kind, arguments, spec, sam):
        head = learned(build(kind, arguments, spec, sam), spec).eval()
        maps = features(SPECS[spec], side=16)
        with torch.inference_mode():
            before = head(maps)
            for feature in head.spec.maps:
                changed = {**maps, feature.name: maps[feature.name].flip(-1)}
                assert not torch.equal(head(changed), before)
            unread = [name for name in maps if name not in {feature.name for feature in head.spec.maps}]
            assert torch.equal(head({name: maps[name] for name in maps if name not in unread}), before)

    @pytest.mark.parametrize("half", [False, True])
    def test_save_and_load(self, kind, arguments, spec, sam, half, tmp_path):
        head = learned(build(kind, arguments, spec, sam), spec).eval()
        if half:
            for value in head.state_dict().values():
                if value.dtype == torch.float32:
                    value.copy_(value.half().float())
        metadata = Metadata("h", (EncoderRef("a", "0" * 32),))
        again = load_head(save_bundle(tmp_path / "h.safetensors", head, metadata, half=half)).head
        maps = features(SPECS[spec], side=16)
        assert (again.kind, again.spec, again.arguments) == (head.kind, head.spec, head.arguments)
        with torch.inference_mode():
            # The products of equal weights can differ in their last bit, by the alignment of the memory they are in.
            torch.testing.assert_close(again(maps), head(maps))
        saved, loaded = head.state_dict(), again.state_dict()
        assert saved.keys() == loaded.keys()
        assert all(torch.equal(saved[name], loaded[name]) for name in saved)


def learned(head: Head, spec: str) -> Head:
    """Train a `DirectHead`: untrained, it gives the same output everywhere."""
    if isinstance(head, DirectHead):
        maps = features(SPECS[spec], side=16, seed=9)
        head.learn([(maps, labels_of(head, maps))], 2, seed=0)
    return head


# Clamped logits (final_relu) of the published head may lose a class for good, which is why they are not the default;
# its stretched masks reach 0 and 1 at two pixels only.
@pytest.mark.parametrize(
    ("kind", "arguments", "spec"),
    [v for v in VARIANTS if not {"final_relu", "as_reference"} & v[1].keys()],
    ids=[n for n in NAMES if "final_relu" not in n and "as_reference" not in n],
)
def test_overfits_four_tiles(kind, arguments, spec, sam):
    """Each tile has its own random features, and random patches of labels that a head must memorise."""
    head = build(kind, arguments, spec, sam)
    small = kind in ("cnn", "linear", "forest")
    maps = features(SPECS[spec], batch=4, side=8 if small else 4)
    labels = labels_of(head, maps)
    if isinstance(head, DirectHead):
        head.learn([(maps, labels)], 4, seed=0)
        assert (head(maps).argmax(dim=1) == labels).float().mean() > 0.95
        return
    best, optimiser = 0.0, torch.optim.Adam(trained(head).values(), lr=3e-3 if small else 1e-3)
    for _ in range(500 if small else 100):
        logits = head(maps)
        best = max(best, (logits.argmax(dim=1) == labels).float().mean().item())
        if best > 0.95:
            break
        loss = functional.cross_entropy(logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert best > 0.95


def test_unknown_kind_and_argument_are_rejected():
    with pytest.raises(UnknownNameError, match="Did you mean 'linear'"):
        create("linaer", SPECS["one map"], CLASSES)
    with pytest.raises(UnknownNameError, match="Did you mean 'depth'"):
        create("cnn", SPECS["one map"], CLASSES, deph=3)


@pytest.mark.parametrize(
    "arguments", [{"depth": 1}, {"depth": 6}, {"top_channel": 0}, {"top_channel": 10**9}]
)
def test_cnn_refuses_sizes(arguments):
    with pytest.raises(DatasetError, match="; give "):
        create("cnn", SPECS["one map"], CLASSES, **arguments)


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("cnn", {"top_channel": 32.0}, "'top_channel' of the head 'cnn' is 32.0; give a whole number."),
        ("cnn", {"top_channel": "abc"}, "'top_channel' of the head 'cnn' is 'abc'; give a whole number."),
        ("cnn", {"depth": True}, "'depth' of the head 'cnn' is True; give a whole number."),
        ("cnn", {"norm": 1}, "'norm' of the head 'cnn' is 1; give true or false."),
        ("forest", {"trees": 10.5}, "'trees' of the head 'forest' is 10.5; give a whole number."),
        (
            "surrogate",
            {"image_px": "abc"},
            "'image_px' of the head 'surrogate' is 'abc'; give a whole number.",
        ),
        ("sampath", {"variant": 3}, "'variant' of the head 'sampath' is 3; give a text."),
    ],
)
def test_arguments_of_the_wrong_type_raise_one_sentence(kind, arguments, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        create(kind, SPECS["embedding"], CLASSES, **arguments)


@pytest.mark.parametrize("kind", ["prompt_generator", "surrogate", "unet"])
@pytest.mark.parametrize(
    "backbone", ["hf-hub:foo/bar", "tu-hf-hub:foo/bar", "local-dir:/tmp", "resnet18.a:b"]
)
def test_backbones_that_would_be_downloaded_are_rejected(kind, backbone):
    with pytest.raises(DatasetError, match=backbone):
        create(kind, SPECS["embedding"], CLASSES, backbone=backbone)


def test_classes_are_checked():
    background, gland, fat = CLASSES
    for wrong in (
        (),
        (gland,),
        (gland, gland),
        (gland, background),
        (gland, ClassInfo(3, "other", (0, 0, 0))),
    ):
        with pytest.raises(DatasetError, match="class"):
            create("linear", SPECS["one map"], wrong)
    with pytest.raises(DatasetError, match="1 to 255"):
        create("linear", SPECS["one map"], (gland, ClassInfo(256, "x", (0, 0, 0))))
    assert create("linear", SPECS["one map"], (gland, fat)).classes == (gland, fat)


def test_features_of_another_encoder_are_rejected():
    head = create("linear", SPECS["two maps"], CLASSES)
    maps = features(SPECS["two maps"], side=8)
    with pytest.raises(WeightsError, match="'tokens' with 5 channels of b"):
        head({"embedding": maps["embedding"]})
    with pytest.raises(WeightsError, match="8 channels"):
        head({**maps, "embedding": maps["embedding"][:, :7]})


def test_stack_maps_keeps_the_maps_of_the_spec():
    spec = SPECS["one map"]
    tiles = [{"embedding": torch.ones(12, 4, 4) * i, "other": torch.ones(1, 4, 4)} for i in range(3)]
    batch = stack_maps(tiles, spec)
    assert {name: tuple(v.shape) for name, v in batch.items()} == {"embedding": (3, 12, 4, 4)}
    assert batch["embedding"][2, 0, 0, 0] == 2


def test_every_kind_has_a_name_and_a_summary():
    for kind in list_heads():
        assert registry[kind].kind == kind
        assert registry[kind].summary.endswith(".")


def test_sampath_variants_name_the_missing_maps():
    for variant in ("pathology_only", "plus"):
        with pytest.raises(DatasetError, match=f"'{variant}' reads.*'embedding of a'"):
            create("sampath", SPECS["embedding"], CLASSES, variant=variant)
    with pytest.raises(DatasetError, match="fusion, sam_only"):
        create("sampath", SPECS["embedding"], CLASSES, variant="both")
    with pytest.raises(DatasetError, match="give 0 or 2"):
        create("sampath", SPECS["embedding"], CLASSES, unused_tokens=1)


def test_sampath_variant_selects_the_maps():
    read = {
        v: [m.name for m in create("sampath", SPECS["pair"], CLASSES, variant=v).spec.maps]
        for v in VARIANT_NAMES
    }
    assert read == {
        "fusion": ["tokens", "b.tokens"],
        "sam_only": ["embedding"],
        "pathology_only": ["b.tokens"],
        "plus": ["embedding", "b.tokens"],
    }


def test_sampath_reads_both_of_a_pair_whose_first_has_no_tokens():
    """As in `sampath-tiny+sampath-tiny-path`; a head built from selected maps selects the same ones."""
    spec = FeatureSpec((EMBEDDING, FeatureMap("b.tokens", 5, "b")))
    head = create("sampath", spec, CLASSES)
    assert [m.name for m in head.spec.maps] == ["embedding", "b.tokens"]
    maps = {m.name: torch.randn(1, m.channels, 8, 8) for m in spec.maps}
    with torch.no_grad():
        logits = head.eval()(maps)
        assert logits.shape == (1, len(CLASSES), 32, 32)
        for name, values in maps.items():
            assert not torch.allclose(head(maps | {name: values + torch.randn_like(values)}), logits)
    selected = FeatureSpec(spec.maps[1:])
    assert create("sampath", selected, CLASSES).spec == selected


def test_heads_with_sams_decoder_start_from_its_weights(sam):
    """Weights of the trained decoder are copied into the head, which is random otherwise."""
    key = "transformer.layers.0.self_attn.q_proj.weight"
    for kind in ("sampath", "autosam", "prompt_generator"):
        head = build(kind, {}, "embedding", sam)
        assert torch.equal(head.state_dict()[f"decoder.{key}"], sam[f"mask_decoder.{key}"])
    head = build("sampath", {}, "embedding", sam)
    networks = [n.state_dict() for n in head.decoder.output_hypernetworks_mlps]
    for name, value in networks[0].items():
        assert all(torch.equal(network[name], value) for network in networks)
    with pytest.raises(WeightsError, match="is missing"):
        head.init_from_sam({"mask_decoder.x": torch.zeros(1)})


def test_prompt_generator_requires_a_prompt_decoder():
    head = create("prompt_generator", SPECS["embedding"], CLASSES)
    with pytest.raises(DatasetError, match="does not have"):
        head.init_from_sam(None)
    create("sampath", SPECS["embedding"], CLASSES).init_from_sam(None)


@pytest.mark.parametrize("kind", ["prompt_generator", "surrogate", "unet"])
def test_image_sizes_and_backbones_are_checked(kind):
    with pytest.raises(DatasetError, match="multiple of 32"):
        create(kind, SPECS["embedding"], CLASSES, image_px=100)
    with pytest.raises(DatasetError, match="resnet18"):
        create(kind, SPECS["embedding"], CLASSES, backbone="resnet19")


def test_forest_predicts_as_scikit_learn(tmp_path):
    """A bundle gives the same probabilities as `predict_proba`, also for classes without a training pixel."""
    from sklearn.ensemble import RandomForestClassifier

    spec = SPECS["one map"]
    head = create("forest", spec, CLASSES, trees=7, depth=6)
    maps = features(spec, side=16)
    labels = torch.randint(0, 2, (2, 16, 16), generator=torch.Generator().manual_seed(2)) * 2
    head.learn([(maps, labels)], 2, seed=3)
    path = save_bundle(
        tmp_path / "f.safetensors", head, Metadata("f", (EncoderRef("a", "0" * 32),)), half=True
    )
    again = load_head(path).head
    rows, drawn = head._sample([(maps, labels)], head.samples // 2, np.random.default_rng(3))
    forest = RandomForestClassifier(7, max_depth=6, class_weight="balanced_subsample", random_state=3)
    forest.fit(rows, drawn)
    fresh = torch.randn(500, 12, generator=torch.Generator().manual_seed(4))
    probabilities = again.probabilities(fresh).numpy()
    np.testing.assert_allclose(probabilities[:, [0, 2]], forest.predict_proba(fresh.numpy()), atol=1e-12)
    assert not probabilities[:, 1].any()


def test_forest_learns_from_labelled_cells_only():
    spec = SPECS["one map"]
    head = create("forest", spec, CLASSES, trees=3)
    nothing = torch.full((2, 16, 16), 255)
    with pytest.raises(DatasetError, match="labelled"):
        head.learn([(features(spec, side=16), nothing)], 2, seed=0)
    for wrong in ({"trees": 0}, {"depth": 100}, {"samples": 0}):
        with pytest.raises(DatasetError, match="of a forest head is"):
            create("forest", spec, CLASSES, **wrong)
