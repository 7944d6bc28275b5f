"""Compare outputs with the golden cases, by the rules of `cases.json["usage"]`."""

from __future__ import annotations

import importlib.util
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import ModuleType

CHUNK = 2**16


def load_procweights(folder: Path) -> ModuleType:
    """Import the module beside the golden cases that generates weights and inputs."""
    source = importlib.util.spec_from_file_location("procweights", folder / "procweights.py")
    if source is None or source.loader is None:
        raise RuntimeError(f"{folder / 'procweights.py'} cannot be imported")
    make = importlib.util.module_from_spec(source)
    source.loader.exec_module(make)
    return make


def uniform(name: str, shape: Sequence[int], seed: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    """Generate the values of `procweights.uniform` in a tenth of the time, in chunks that stay in the cache."""
    bits = np.random.Philox(key=np.array([zlib.crc32(name.encode()), seed], dtype=np.uint64))
    values = np.empty(math.prod(shape), np.float32)
    for start in range(0, len(values), CHUNK):
        raw = bits.random_raw(min(CHUNK, len(values) - start))
        fraction = (raw >> np.uint64(11)).astype(np.float64) * (1.0 / (1 << 53))
        values[start : start + CHUNK] = fraction * (high - low) + low
    return torch.from_numpy(values.reshape(tuple(shape)))


@dataclass(frozen=True)
class Golden:
    """Outputs of the reference implementations for weights and inputs generated from names, shapes and seeds."""

    folder: Path
    make: ModuleType
    cases: dict[str, Any]
    arrays: dict[str, np.ndarray]

    def case(self, name: str) -> dict[str, Any]:
        """Return the description of a case: configuration, weights, inputs, outputs, tolerance."""
        case: dict[str, Any] = self.cases["cases"][name]
        return case

    def weights(
        self, manifest: str, seed: int, scale: dict[str, float] | None = None
    ) -> dict[str, torch.Tensor]:
        """Generate the state_dict of a file in `manifests/` (with or without `.json`)."""
        path = self.folder / "manifests" / f"{manifest.removesuffix('.json')}.json"
        state: dict[str, torch.Tensor] = self.make.state_dict(self.make.load_json(path), seed, scale=scale)
        return state

    def build(self, recipe: dict[str, Any]) -> torch.Tensor:
        """Generate the input described by a recipe."""
        tensor: torch.Tensor = self.make.build(recipe, self.arrays)
        return tensor

    def expected(self, array: str) -> np.ndarray:
        """Return a stored output by its name in `outputs[...]["array"]` of the case."""
        values: np.ndarray = self.arrays[array]
        return values

    def subsample(self, tensor: torch.Tensor, slicing: str | None) -> torch.Tensor:
        """Return the part of an output that is stored."""
        part: torch.Tensor = self.make.subsample(tensor, slicing)
        return part


def assert_matches(golden: Golden, case: str, output: str, actual: torch.Tensor | np.ndarray) -> None:
    """Assert that an output equals its stored part within the tolerance of the case.

    Args:
        golden: Golden cases.
        case: Name of the case, "sam.encoder".
        output: Name of its output, "embedding".
        actual: Complete output, with the shape of the reference.
    """
    described = golden.case(case)
    rule: dict[str, Any] = described["outputs"][output]
    tensor = torch.as_tensor(actual).detach().cpu()
    assert list(tensor.shape) == rule["shape"]
    part = golden.subsample(tensor, rule["slice"]).numpy()
    expected = golden.expected(rule["array"])
    assert part.shape == expected.shape
    if "max_fraction_different" in rule:
        assert (part != expected).mean() <= rule["max_fraction_different"]
        return
    atol = rule.get("atol", 0 if rule.get("exact") else described["tolerance"]["atol"])
    rtol = described["tolerance"].get("rtol", 0.0)
    np.testing.assert_allclose(part, expected, atol=atol, rtol=rtol)
    if "l2" in rule:
        assert np.linalg.norm(tensor.double().numpy()) == pytest.approx(rule["l2"], rel=1e-4)
