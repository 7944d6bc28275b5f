"""One body for all registered heads, and the rules of building them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from napari_sampath.arrays import ClassInfo, FeatureMap, FeatureSpec
from napari_sampath.errors import DatasetError, UnknownNameError, WeightsError
from napari_sampath.heads import create, list_heads, registry, stack_maps

SPECS = {
    "one map": FeatureSpec((FeatureMap("embedding", 12, "a"),)),
    "two maps": FeatureSpec((FeatureMap("embedding", 8, "a"), FeatureMap("tokens", 5, "b"))),
}
CLASSES = (
    ClassInfo(0, "rest", (0, 0, 0)),
    ClassInfo(3, "gland", (255, 0, 0)),
    ClassInfo(7, "fat", (0, 9, 9)),
)
VARIANTS = [
    ("cnn", {"depth": 2, "top_channel": 4}),
    ("cnn", {"depth": 3, "top_channel": 4}),
    ("cnn", {"depth": 4, "top_channel": 4}),
    ("cnn", {"depth": 5, "top_channel": 3}),
    ("cnn", {"depth": 2, "top_channel": 4, "norm": True}),
    ("linear", {}),
    ("linear", {"final_relu": True}),
]
SIDES = {("cnn", 3): 2, ("cnn", 5): 8}
"""Logits per feature cell along a side, where it is not 4."""


def features(spec: FeatureSpec, batch: int = 2, side: int = 64, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {m.name: torch.randn(batch, m.channels, side, side, generator=generator) for m in spec.maps}


def test_every_kind_is_tested():
    assert {kind for kind, _ in VARIANTS} == set(list_heads())


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize(("kind", "arguments"), VARIANTS)
class TestEveryHead:
    def make(self, kind, arguments, spec):
        torch.manual_seed(1)
        return create(kind, spec, CLASSES, **arguments)

    @pytest.mark.parametrize("side", [64, 16])
    def test_shapes(self, kind, arguments, spec, side):
        head = self.make(kind, arguments, spec)
        factor = SIDES.get((kind, arguments.get("depth")), 4)
        logits = head(features(spec, side=side))
        assert logits.shape == (2, len(CLASSES), side * factor, side * factor)
        assert logits.dtype == torch.float32

    def test_gradients_reach_all_parameters(self, kind, arguments, spec):
        head = self.make(kind, arguments, spec)
        logits = head(features(spec, side=16))
        functional.cross_entropy(logits, torch.randint(0, 3, logits.shape[2:]).expand(2, -1, -1)).backward()
        missing = [name for name, p in head.named_parameters() if p.grad is None or not p.grad.any()]
        assert missing == []

    def test_every_map_matters(self, kind, arguments, spec):
        head = self.make(kind, arguments, spec).eval()
        maps = features(spec, side=16)
        before = head(maps)
        for name in maps:
            assert not torch.equal(head({**maps, name: maps[name] + 1}), before)

    def test_save_and_load(self, kind, arguments, spec):
        head = self.make(kind, arguments, spec).eval()
        again = create(head.kind, head.spec, head.classes, **head.arguments).eval()
        again.load_state_dict(head.state_dict())
        maps = features(spec, side=16)
        assert torch.equal(head(maps), again(maps))


# The reference's clamped logits (final_relu) may lose a class for good, which is why they are not the default.
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize(("kind", "arguments"), [v for v in VARIANTS if "final_relu" not in v[1]])
def test_overfits_four_tiles(kind, arguments, spec):
    """Each tile has its own random features, and labels in patches that a head must learn by heart."""
    torch.manual_seed(1)
    head = create(kind, spec, CLASSES, **arguments)
    maps = features(spec, batch=4, side=8)
    size = head(maps).shape[-1]
    patches = torch.randint(0, 3, (4, 1, 4, 4), generator=torch.Generator().manual_seed(5))
    labels = functional.interpolate(patches.float(), (size, size), mode="nearest")[:, 0].long()
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-3)
    best = 0.0
    for _ in range(500):
        logits = head(maps)
        best = max(best, (logits.argmax(dim=1) == labels).float().mean().item())
        if best > 0.95:
            break
        loss = functional.cross_entropy(logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert best > 0.95


def test_unknown_kind_and_argument():
    with pytest.raises(UnknownNameError, match="Did you mean 'linear'"):
        create("linaer", SPECS["one map"], CLASSES)
    with pytest.raises(UnknownNameError, match="Did you mean 'depth'"):
        create("cnn", SPECS["one map"], CLASSES, deph=3)


@pytest.mark.parametrize(
    "arguments", [{"depth": 1}, {"depth": 6}, {"top_channel": 0}, {"top_channel": 10**9}]
)
def test_cnn_refuses_sizes(arguments):
    with pytest.raises(DatasetError, match="allowed"):
        create("cnn", SPECS["one map"], CLASSES, **arguments)


def test_classes_are_checked():
    rest, gland, fat = CLASSES
    for wrong in ((), (gland,), (gland, gland), (gland, rest), (gland, ClassInfo(3, "other", (0, 0, 0)))):
        with pytest.raises(DatasetError, match="class"):
            create("linear", SPECS["one map"], wrong)
    with pytest.raises(DatasetError, match="1 to 255"):
        create("linear", SPECS["one map"], (gland, ClassInfo(256, "x", (0, 0, 0))))
    assert create("linear", SPECS["one map"], (gland, fat)).classes == (gland, fat)


def test_features_of_another_encoder_are_refused():
    head = create("linear", SPECS["two maps"], CLASSES)
    maps = features(SPECS["two maps"], side=8)
    with pytest.raises(WeightsError, match="'tokens' with 5 channels of b"):
        head({"embedding": maps["embedding"]})
    with pytest.raises(WeightsError, match="8 channels"):
        head({**maps, "embedding": maps["embedding"][:, :7]})


def test_stack_maps_takes_what_the_head_reads():
    spec = SPECS["one map"]
    tiles = [{"embedding": torch.ones(12, 4, 4) * i, "other": torch.ones(1, 4, 4)} for i in range(3)]
    batch = stack_maps(tiles, spec)
    assert {name: tuple(v.shape) for name, v in batch.items()} == {"embedding": (3, 12, 4, 4)}
    assert batch["embedding"][2, 0, 0, 0] == 2


def test_kinds_say_what_they_are():
    for kind in list_heads():
        assert registry[kind].kind == kind
        assert registry[kind].summary.endswith(".")
