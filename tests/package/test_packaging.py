"""What people see outside of the repository: metadata, README, licences of the weights, recipe and workflows."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks.model_card import as_plain_text

from napari_sampath.cli import main
from napari_sampath.encoders.tiny import tiny
from napari_sampath.heads import list_bundles
from support.paths import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ADDRESS = PYPROJECT["project"]["urls"]["Repository"]
CONDA_NAMES = {"torch": "pytorch", "openslide-bin": "openslide", "xxhash": "python-xxhash"}
"""Name on PyPI -> name on conda-forge, where they differ."""


def rendered_readme() -> str:
    """Return the README as the build writes it into the metadata."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for rule in PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    return text


def test_the_published_readme_has_absolute_addresses_of_files_that_exist() -> None:
    addresses = re.findall(r"\]\(([^)]+)\)", rendered_readme())
    own = [address.removeprefix(ADDRESS) for address in addresses if address.startswith(ADDRESS)]
    assert len(own) >= 10
    assert [address for address in addresses if not address.startswith("https://")] == []
    for address in own:
        kind, _, path = address.lstrip("/").partition("/main/")
        assert kind == ("raw" if Path(path).suffix in (".png", ".jpg", ".gif", ".webm") else "blob"), address
        assert (ROOT / path).is_file(), address


def test_one_address_and_no_qt_binding_in_the_extra_gui() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    recipe = (ROOT / "packaging" / "conda-forge" / "recipe.yaml").read_text(encoding="utf-8")
    for address in re.findall(r"https://\S+?/napari-sampath", f"{text}{recipe}"):
        assert address.endswith(("source/n/napari-sampath", ADDRESS)), address
    assert all(url.startswith(ADDRESS) for url in PYPROJECT["project"]["urls"].values())
    gui = PYPROJECT["project"]["optional-dependencies"]["gui"]
    assert not re.search(r"pyqt|pyside|napari\[", " ".join(gui), re.IGNORECASE)
    assert "'napari[pyqt6]'" in (ROOT / "scripts" / "setup.sh").read_text(encoding="utf-8")


def test_the_source_archive_holds_only_files_of_the_root_that_exist() -> None:
    paths = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert [path for path in paths if not path.startswith("/") or not (ROOT / path[1:]).exists()] == []


def test_the_package_holds_the_model_card() -> None:
    card = (ROOT / "docs" / "model-card.md").read_text(encoding="utf-8")
    assert tiny.MODEL_CARD.read_text(encoding="utf-8") == as_plain_text(card)
    assert "](" not in re.sub(r"\]\(https?://", "", as_plain_text(card))


def test_models_states_licence_attribution_and_card_of_all_shipped_weights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["models", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    shipped = [row for row in result["encoders"] if row["weights"] == "shipped"] + result["heads"]
    assert [row["name"] for row in shipped] == [*tiny.MODELS, *list_bundles()]
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    named = re.findall(
        r"\b(?:sampath|gland|nucleus|tumour|tissue)-[a-z]+(?:-[a-z]+)?\b", notice.split("\n- ")[0]
    )
    assert set(named) == {row["name"] for row in shipped}
    for row in shipped:
        assert row["licence"], row
        assert Path(row["model_card"]).is_file(), row
        assert row["name"] in notice, row
        for source in row["attribution"].split("; "):
            assert source.split(" ")[0].rstrip(",") in notice or "by a model" in source, source
    assert "CC BY 4.0" in shipped[0]["attribution"]
    others = [row for row in result["encoders"] if row["weights"] != "shipped"]
    assert {row["model_card"] for row in others} == {None}


def test_models_without_shipped_weights_shows_no_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "hipt*"]) == 0
    assert "Model card" not in capsys.readouterr().out
    assert main(["models", "gland-cnn"]) == 0
    assert str(tiny.MODEL_CARD) in capsys.readouterr().out


def test_the_recipe_of_conda_forge_requires_what_the_package_requires() -> None:
    recipe: dict[str, Any] = yaml.safe_load(
        (ROOT / "packaging" / "conda-forge" / "recipe.yaml").read_text(encoding="utf-8")
    )
    run = dict(line.partition(" ")[::2] for line in recipe["requirements"]["run"])
    project = PYPROJECT["project"]
    for line in chain(project["dependencies"], project["optional-dependencies"]["gui"]):
        name, version = re.match(r"([\w-]+)(>=[\w.]+)", line).groups()  # type: ignore[union-attr]
        stated = run[CONDA_NAMES.get(name, name)]
        # The Python package openslide-bin counts its own releases of the C library.
        assert version.startswith(stated) if name == "openslide-bin" else stated == version, line
    host = {line.split(" ")[0]: line for line in recipe["requirements"]["host"]}
    for line in PYPROJECT["build-system"]["requires"]:
        name = line.split(">=")[0]
        assert host[name].replace(" ", "") == line


@pytest.mark.parametrize(
    "path", ["CITATION.cff", *(str(path.relative_to(ROOT)) for path in (ROOT / ".github").rglob("*.yml"))]
)
def test_yaml_files_of_the_repository_parse(path: str) -> None:
    content = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    if path == "CITATION.cff":
        assert {"cff-version", "message", "title", "authors"} <= set(content)
        assert content["license"] == PYPROJECT["project"]["license"]
    for job in content.get("jobs", {}).values():
        for step in job["steps"]:
            for script in re.findall(r"(?:scripts|\.ci)/[\w.]+", step.get("run", "")):
                assert (ROOT / script).is_file(), script
            for target in re.findall(r"make ([\w-]+)", step.get("run", "")):
                assert re.search(
                    rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
                )
