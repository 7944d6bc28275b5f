"""Checkpoints with other objects: the weights are read and no code is run. Files of torch.save and pickle."""

from __future__ import annotations

import argparse
import builtins
import collections
import datetime
import enum
import functools
import os
import pathlib
import pickle
import subprocess
import sys
import types
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from napari_sampath.encoders.weights.weights import load_state_dict
from napari_sampath.errors import UnsafeFileError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@pytest.fixture
def package() -> Iterator[types.ModuleType]:
    """A package that is importable while files are written, but not while they are read."""
    module = types.ModuleType("elsewhere")
    module.Trap = type("Trap", (), {"__module__": "elsewhere"})
    sys.modules["elsewhere"] = module
    yield module
    sys.modules.pop("elsewhere", None)


def define(package: types.ModuleType, kind: type) -> type:
    kind.__module__, kind.__qualname__ = "elsewhere", kind.__name__
    setattr(package, kind.__name__, kind)
    return kind


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(6, 4, generator=generator)
    return {
        "a.weight": matrix,
        "a.transposed": matrix.t(),
        "a.part": matrix[1:3, 2:],
        "half": torch.randn(5, generator=generator).to(torch.bfloat16),
        "steps": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "parameter": nn.Parameter(torch.randn(3, generator=generator)),
    }


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value)
        assert found[key].dtype == value.dtype


def save(content: object, path: Path, zipped: bool) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old format wants the source code of classes
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    sys.modules.pop("elsewhere", None)
    return path


# Harmless files


@FORMATS
def test_lightning_checkpoint_with_an_unknown_class_is_read(
    tmp_path: Path, package: types.ModuleType, zipped: bool
) -> None:
    box = define(package, type("Box", (dict,), {}))
    config = box({"model": {"type": "vit_b"}, "nested": box({"lr": 1e-4})})
    config.note = "an attribute"
    path = save(
        {
            "epoch": 59,
            "pytorch-lightning_version": "2.0.2",
            "state_dict": {f"model.{key}": value for key, value in weights().items()},
            "callbacks": {},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
            "hyper_parameters": {"cfg": config, "num_classes": 3},
        },
        tmp_path / "last.ckpt",
        zipped,
    )
    assert_equal(load_state_dict(path), {f"model.{key}": value for key, value in weights().items()})


@FORMATS
def test_checkpoint_with_objects_of_numpy_and_the_standard_library_is_read(
    tmp_path: Path, package: types.ModuleType, zipped: bool
) -> None:
    colour = define(package, enum.Enum("Colour", "RED BLUE", module="elsewhere"))
    content = {
        "args": argparse.Namespace(lr=5e-4, out=pathlib.Path("/out"), when=datetime.datetime(2022, 1, 2)),
        "log": collections.defaultdict(list, a=[1.0]),
        "norm": functools.partial(nn.LayerNorm, eps=1e-6),
        "loss": [np.float64(1e-4), np.int64(7), np.arange(3), np.dtype("float32")],
        "activation": nn.functional.gelu,
        "colour": colour.RED,
        "set": {1, 2},
        "device": torch.device("cpu"),
        "state_dict": weights(),
    }
    assert_equal(load_state_dict(save(content, tmp_path / "w.pth", zipped)), weights())


@FORMATS
def test_pickled_network_of_unknown_classes_is_read(
    tmp_path: Path, package: types.ModuleType, zipped: bool
) -> None:
    class Part(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, width, 3)
            self.norm = nn.BatchNorm2d(width)
            self.own = nn.Parameter(torch.randn(2))
            self.absent = None
            self.act = nn.functional.relu

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([Part(2), Part(4)])
            self.register_buffer("kept", torch.ones(2))
            self.register_buffer("passing", torch.ones(2), persistent=False)
            self.register_parameter("none", None)

    define(package, Part)
    network = define(package, Network)()
    expected = {key: value.clone() for key, value in network.state_dict().items()}
    assert_equal(load_state_dict(save(network, tmp_path / "net.pth", zipped)), expected)
    sys.modules["elsewhere"] = package
    nested = save({"epoch": 1, "model": network}, tmp_path / "nested.pth", zipped)
    assert_equal(load_state_dict(nested), expected)


# Hostile files


class _Calls:
    """Pickled as a function call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def _hostile(proof: Path) -> dict[str, object]:
    command = f"__import__('os').mkdir({str(proof)!r})"
    return {
        "os.system": _Calls(os.system, f"mkdir '{proof}'"),
        "mkdir": _Calls(os.mkdir, str(proof)),
        "eval": _Calls(builtins.eval, command),
        "exec": _Calls(builtins.exec, command),
        "Popen": _Calls(subprocess.Popen, ["mkdir", str(proof)]),
        "getattr": _Calls(getattr, np.zeros(1), "tofile"),
        "import_module": _Calls(__import__("importlib").import_module, "antigravity"),
        "torch.load": _Calls(torch.load, str(proof)),
        "torch.save": _Calls(torch.save, [1], str(proof)),
        "torch.from_file": _Calls(torch.from_file, str(proof), True, 8),
        "torch.hub": _Calls(torch.hub.load, "a/b", "c"),
        "numpy.fromfile": _Calls(np.memmap, str(proof), "uint8", "w+", 0, (8,)),
    }


@FORMATS
@pytest.mark.parametrize("name", list(_hostile(pathlib.Path("x"))))
def test_file_that_would_run_code_is_rejected(tmp_path: Path, name: str, zipped: bool) -> None:
    proof = tmp_path / "code-was-run"
    content = {"state_dict": weights(), "hyper_parameters": {"cfg": _hostile(proof)[name]}}
    path = save(content, tmp_path / "w.ckpt", zipped)
    with pytest.raises(
        UnsafeFileError, match=r"was not loaded: it calls '[\w.]+', which can run code"
    ) as caught:
        load_state_dict(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert not proof.exists()


def test_classes_of_other_packages_are_not_imported(tmp_path: Path, package: types.ModuleType) -> None:
    """A class of another package, whose module would run code when imported."""
    proof = tmp_path / "code-was-run"
    trap = define(package, type("Trap", (), {"__reduce__": lambda self: (type(self), ("argument",))}))
    path = save({"state_dict": weights(), "x": trap()}, tmp_path / "w.ckpt", True)
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "elsewhere.py").write_text(f"import os; os.mkdir({str(proof)!r})")
    sys.path.insert(0, str(folder))
    try:
        assert_equal(load_state_dict(path), weights())
    finally:
        sys.path.remove(str(folder))
    assert not proof.exists()


def test_tensor_cannot_read_beyond_its_storage(tmp_path: Path) -> None:
    tensor = torch.arange(4.0)
    for size, stride in (((5,), (1,)), ((2, 2), (3, 1)), ((-1,), (1,)), ((2,), (-1,))):

        class Rebuilt:
            def __reduce_ex__(self, protocol: int, size: Any = size, stride: Any = stride) -> Any:
                return torch._utils._rebuild_tensor_v2, (
                    tensor._typed_storage(), 0, size, stride, False, collections.OrderedDict(),
                )  # fmt: skip

        path = save({"w": Rebuilt(), "c": argparse.Namespace()}, tmp_path / "w.pth", True)
        with pytest.raises(WeightsError, match="truncated, damaged"):
            load_state_dict(path)


def test_recursive_file_is_rejected(tmp_path: Path) -> None:
    content: dict[str, Any] = {"args": argparse.Namespace()}
    content["model"] = content
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="damaged or not a weights file"):
        load_state_dict(tmp_path / "w.pth")


def test_state_for_a_function_is_rejected(tmp_path: Path) -> None:
    code = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}(X\x01\x00\x00\x00aK\x01ub."
    code = code[:2] + b"cargparse\nNamespace\n0" + code[2:]
    (tmp_path / "w.pth").write_bytes(code)
    with pytest.raises(WeightsError, match="damaged"):
        load_state_dict(tmp_path / "w.pth")


@FORMATS
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_raise_one_sentence(tmp_path: Path, zipped: bool, data: st.DataObject) -> None:
    good = tmp_path / "good.pth"
    if not good.exists():
        save({"args": argparse.Namespace(lr=1.0), "net": nn.Linear(3, 2), "model": weights()}, good, zipped)
    content = bytearray(good.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (tmp_path / "bad.pth").write_bytes(bytes(content))
    sentence, found = "", {}
    try:
        found = load_state_dict(tmp_path / "bad.pth")
    except WeightsError as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert bool(found) != bool(sentence)
    assert all(isinstance(value, torch.Tensor) for value in found.values())


def test_archive_of_several_disks_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    save(weights(), path, True)
    content = bytearray(path.read_bytes())
    locator = content.rindex(b"PK\x06\x07")
    content[locator + 16] = 9  # the number of disks
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        load_state_dict(path)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_pickles_of_any_protocol_run_no_code(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "code-was-run"
    path = tmp_path / "w.pkl"
    path.write_bytes(pickle.dumps({"a": _hostile(proof)["mkdir"]}, protocol))
    with pytest.raises(WeightsError):
        load_state_dict(path)
    assert not proof.exists()
