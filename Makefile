# make demo   the main job on a real image: opens napari, or leaves demo-output/ where there is no display
# make test   lint, types, import contracts and all tests
# make bench  speed and memory beside the segment_anything package, into docs/benchmarks.md; some 40 minutes
# make bench-gui  from click to painted pixels on a real viewer, into docs/latency.md; some 20 minutes
# make results  trains and scores every head on the tissue images of SAMPATH_DATA, and writes docs/results.md
# make evaluate-models  scores the shipped models on the tissue images of SAMPATH_DATA, and writes docs/model-card.md
# make models  trains all that is shipped anew, into build/models; hours; SMALL=1 goes the whole way with few steps
# make afternoon  a scripted afternoon on the tissue images of SAMPATH_DATA: correct, retrain, predict; docs/afternoon.md
# All do all their own set-up; PYTHON=/path/to/python3.12 chooses the Python of the virtual environment.

.PHONY: help setup demo test bench bench-gui results evaluate-models models afternoon clean
.NOTPARALLEL:

help:
	@sed -n 's/^# \(make\)/\1/p' Makefile

setup:
	@PYTHON="$(PYTHON)" bash scripts/setup.sh

demo: setup
	@HEADLESS="$(HEADLESS)" bash scripts/demo.sh

test: setup
	@bash scripts/test.sh $(ARGS)

bench: setup
	@.venv/bin/python -m benchmarks $(ARGS)

bench-gui: setup
	@bash scripts/under_display.sh .venv/bin/python -m benchmarks.gui $(ARGS)

results: setup
	@.venv/bin/python -m benchmarks.results $(ARGS)

evaluate-models: setup
	@.venv/bin/python -m benchmarks.model_card --data "$${SAMPATH_DATA:-../shared/data}" --clicks 20 --closer --colours 0.8 1.2 \
		--objects nucleus-cnn --card docs/model-card.md $(addprefix --beside ,$(wildcard build/models/unet-*.safetensors)) $(ARGS)

models: setup
	@PATH="$$PWD/.venv/bin:$$PATH" SMALL="$(SMALL)" bash recipes/models.sh "$${SAMPATH_DATA:-../shared/data}"

afternoon: setup
	@bash scripts/under_display.sh .venv/bin/python -m benchmarks.afternoon $(ARGS)

clean:
	rm -rf demo-output build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
