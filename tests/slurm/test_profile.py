"""What the profile refuses, which needs the plugin but no cluster."""

import pytest
from submitted import watched

pytestmark = pytest.mark.slurm
pytest.importorskip("snakemake_executor_plugin_slurm", reason="envs/requirements-slurm.txt")


def test_too_few_jobs_for_arrays_are_refused_by_a_sentence(tmp_path):
    """The plugin would forget jobs that it holds back, and Snakemake would wait for them."""
    project = watched(
        tmp_path / "project",
        "studies: {moe: null, ablation: null, dynamics: null, comparison: null}\n",
    )
    assert project.begin("--jobs", "50").end(60) != 0
    assert "error: --jobs 50 is too few for --slurm-array-jobs" in project.said
    assert "Traceback" not in project.said
    assert not (project.folder / "results/mini").exists()
