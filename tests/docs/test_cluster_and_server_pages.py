"""The commands of the pages on clusters and servers."""

from __future__ import annotations

import builtins
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import skimage.data
import tifffile

from cli.test_readme import blocks, needs_weights
from napari_sampath.cli import main
from support.paths import ROOT

CLUSTER, SERVER = ROOT / "docs" / "cluster.md", ROOT / "docs" / "server.md"
SHELL = [*blocks(CLUSTER, ""), *blocks(CLUSTER, "bash"), *blocks(SERVER, ""), *blocks(SERVER, "bash")]


@pytest.mark.parametrize("script", SHELL)
def test_shells_accept_the_commands(script: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_dask_accepts_its_commands() -> None:
    pytest.importorskip("distributed", reason="needs the extra 'cluster'")
    from distributed.cli import dask_scheduler, dask_worker

    commands = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
    lines = re.findall(r"^(?:\w+=\S+ )*dask (\w+) (.+)$", "\n".join(blocks(CLUSTER, "")), re.MULTILINE)
    assert [name for name, _ in lines] == ["scheduler", "worker"]
    for name, words in lines:
        commands[name].make_context(name, shlex.split(words))


def test_the_array_job_has_as_many_tasks_as_parts() -> None:
    (script,) = blocks(CLUSTER, "bash")
    (tasks,) = re.findall(r"^#SBATCH --array=1-(\d+)$", script, re.MULTILINE)
    assert re.findall(r"--part \$SLURM_ARRAY_TASK_ID/(\d+)", script) == [tasks]


def test_two_parts_on_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs_weights()
    monkeypatch.chdir(tmp_path)
    Path("slides").mkdir()
    pixels, text = skimage.data.immunohistochemistry()[:64, :64], "Aperio Image Library v11|MPP = 0.5"
    tifffile.imwrite("slides/biopsy.svs", pixels, photometric="rgb", tile=(64, 64), description=text)
    objects = []
    for line in blocks(CLUSTER, "")[0].splitlines():
        assert main([*shlex.split(line)[1:], "--json", "--quiet"]) == 0
        objects.append(json.loads(capsys.readouterr().out)["objects"])
    assert objects[0] is None
    assert objects[1] is not None


def test_slurm_with_dask_jobqueue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's commands are replaced by scripts that keep the job scripts."""
    pytest.importorskip("dask_jobqueue", reason="needs dask-jobqueue")
    (program,) = [text for text in blocks(CLUSTER, "python") if "SLURMCluster" in text]
    commands = tmp_path / "bin"
    commands.mkdir()
    bodies = {"sbatch": f'cp "$1" {tmp_path}/job.$$; echo "Submitted batch job $$"', "scancel": "true"}
    for name, body in bodies.items():
        (commands / name).write_text(f"#!/bin/bash\n{body}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}

    def wait_for_jobs(prompt: str) -> str:
        names["cluster"].sync(names["cluster"]._correct_state)  # type: ignore[attr-defined]
        return ""

    monkeypatch.setattr(builtins, "input", wait_for_jobs)
    exec(program, names)
    names["cluster"].close()  # type: ignore[attr-defined]
    jobs = [path.read_text() for path in tmp_path.glob("job.*")]
    assert len(jobs) == 8
    for job in jobs:
        assert "#SBATCH --gres=gpu:1" in job
        assert "--nthreads 1" in job
        assert re.search(r"dask[_ ]worker tcp://", job)
