# make demo             opens napari with a sample; without a display it drives the docks and writes demo-output/
# make test             runs lint, type checks, import contracts and all tests
# make bench            compares speed and memory with segment_anything, writes docs/benchmarks.md; about 40 minutes
# make bench-gui        measures latency on a real viewer, writes docs/latency.md; about 20 minutes
# make fuzz             reads 20,000 damaged files of every format; 10 minutes on two processors
# make bench-slides     measures reading and showing of slides, writes docs/slides-benchmark.md; about 15 minutes
# make test-slides      checks the readers with the slides in FOLDER=/path/to/slides
# make results          trains and evaluates every head on the images of SAMPATH_DATA, writes docs/results.md
# make evaluate-models  evaluates the shipped models on the images of SAMPATH_DATA, writes docs/model-card.md
# make models           trains all shipped models into build/models; takes hours; SMALL=1 uses few steps
# make afternoon        simulates an afternoon of annotating on the images of SAMPATH_DATA, writes docs/afternoon.md
# make test-matrix      runs the tests of the window with napari 0.6.2, 0.8 and 0.9 and with PySide6; about an hour
# make package          builds and checks the wheel and the source archive in dist/
# make docs             builds the documentation into site/
# Each target sets up the environment first; PYTHON=/path/to/python3.12 chooses its Python.

.PHONY: help setup demo test test-matrix package fuzz bench bench-gui bench-slides test-slides results evaluate-models models afternoon docs clean
.NOTPARALLEL:

help:
	@sed -n 's/^# \(make\)/\1/p' Makefile

setup:
	@PYTHON="$(PYTHON)" bash scripts/setup.sh

demo: setup
	@HEADLESS="$(HEADLESS)" bash scripts/demo.sh

test: setup
	@bash scripts/test.sh $(ARGS)

fuzz: setup
	@.venv/bin/python -m benchmarks.fuzz $(ARGS)

bench: setup
	@.venv/bin/python -m benchmarks $(ARGS)

bench-gui: setup
	@bash scripts/under_display.sh .venv/bin/python -m benchmarks.gui $(ARGS)

bench-slides: setup
	@bash scripts/under_display.sh .venv/bin/python -m benchmarks.slides $(ARGS)

test-slides: setup
	@SAMPATH_SLIDES="$(FOLDER)" .venv/bin/python -m pytest -n0 -q tests/images/slides/test_own_slides.py $(ARGS)

results: setup
	@.venv/bin/python -m benchmarks.results $(ARGS)

evaluate-models: setup
	@.venv/bin/python -m benchmarks.model_card --data "$${SAMPATH_DATA:-../shared/data}" --clicks 20 --high-resolution --colours 0.8 1.2 \
		--instances 16 --card docs/model-card.md --copy src/napari_sampath/encoders/shipped/model-card.md \
		$(addprefix --beside ,$(wildcard build/models/unet-*.safetensors)) $(ARGS)

models: setup
	@PATH="$$PWD/.venv/bin:$$PATH" SMALL="$(SMALL)" bash recipes/models.sh "$${SAMPATH_DATA:-../shared/data}"

afternoon: setup
	@bash scripts/under_display.sh .venv/bin/python -m benchmarks.afternoon $(ARGS)

docs: setup
	@.venv/bin/python -m pip install --quiet --group docs && .venv/bin/mkdocs build --strict

test-matrix: setup
	@CASES="$(CASES)" bash scripts/test_matrix.sh $(ARGS)

package:
	@PYTHON="$(PYTHON)" bash scripts/package.sh

clean:
	rm -rf demo-output build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
