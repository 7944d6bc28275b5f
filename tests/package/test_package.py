from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
import tomllib
from importlib import metadata
from itertools import chain

import pytest

import napari_sampath
from support.paths import ROOT

SOURCE = ROOT / "src" / "napari_sampath"
MODULES = sorted(module.name for module in pkgutil.walk_packages(napari_sampath.__path__, "napari_sampath."))
HEAVY = (
    "torch",
    "timm",
    "segment_anything",
    "qtpy",
    "PyQt6",
    "napari",
    "magicgui",
    "superqt",
    "skimage",
    "scipy",
)


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("statement", ["import napari_sampath", "from napari_sampath.cli import main"])
def test_importing_loads_neither_torch_nor_qt(statement: str) -> None:
    result = python(
        f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    )
    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert "napari_sampath" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_importing_a_session_does_not_load_torch() -> None:
    """Annotations open without the networks, which only prompts need."""
    result = python("import sys\nimport napari_sampath.session\nsys.exit('torch' in sys.modules)")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["prompt", "--help"]])
def test_help_does_not_load_torch(words: list[str]) -> None:
    program = (
        "import sys\nfrom napari_sampath.cli import main\n"
        "code = main(sys.argv[1:])\nsys.exit(code or ('torch' in sys.modules) * 3)"
    )
    result = python(program, *words)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name: str) -> None:
    if name.startswith("napari_sampath.widgets"):
        pytest.importorskip("napari", reason="needs the extra 'gui'")
    assert importlib.import_module(name).__name__ == name


def test_all_packages_are_tested() -> None:
    packages = {name.split(".")[1] for name in MODULES}
    assert {"annotations", "cli", "encoders", "formats", "heads", "images", "predict", "store"} <= packages
    assert {"training", "widgets", "session", "errors", "jobs", "registry"} <= packages
    assert len(MODULES) > 40


def test_public_names_exist_and_are_listed() -> None:
    assert set(dir(napari_sampath)) == set(napari_sampath.__all__)
    for name in napari_sampath.__all__:
        assert getattr(napari_sampath, name) is not None
    with pytest.raises(AttributeError, match="attribute no_such_name"):
        napari_sampath.no_such_name  # noqa: B018


def test_version_of_the_installed_package() -> None:
    assert metadata.version("napari-sampath") == napari_sampath.__version__


def test_manifest_at_the_root_equals_that_of_the_package() -> None:
    assert (ROOT / "napari.yaml").read_bytes() == (SOURCE / "napari.yaml").read_bytes()


DISTRIBUTIONS = {
    "PIL": "pillow",
    "google_crc32c": "google-crc32c",
    "lazy_loader": "lazy-loader",
    "lightning_fabric": "lightning-fabric",
    "open_clip": "open-clip-torch",
    "openslide": "openslide-python",
    "segment_anything": "segment-anything",
    "segmentation_models_pytorch": "segmentation-models-pytorch",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Name of an imported package -> name of its distribution, where they differ."""


NOT_IMPORTED = {
    "imagecodecs",  # decoders of tifffile and zarr
    "openslide-bin",  # the library that openslide-python loads
    "numcodecs",  # codecs of zarr, of which earlier versions run code
    "npe2",  # validates the manifest in `make test` and tests/widgets/test_manifest.py
}
"""Declared dependencies that src does not import."""
WITH_NAPARI = {"app_model", "vispy"}
"""Imported packages that napari depends on."""


def test_dependencies_are_declared_and_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    declared = {line.split(">=")[0].split("[")[0].strip() for line in lines}
    imported: dict[str, str] = {}
    for path in SOURCE.rglob("*.py*"):
        if path.suffix not in (".py", ".pyi"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            else:
                continue
            imported.update({name.split(".")[0]: str(path) for name in names})
    third_party = {
        DISTRIBUTIONS.get(name, name): path
        for name, path in imported.items()
        if name not in sys.stdlib_module_names and name not in ("napari_sampath", "_typeshed")
    }
    assert {name: path for name, path in third_party.items() if name not in declared | WITH_NAPARI} == {}
    assert declared - set(third_party) - NOT_IMPORTED == set()
