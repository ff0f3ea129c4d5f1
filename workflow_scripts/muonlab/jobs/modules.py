"""What the workers of `jobs/warm.py` import: the modules that jobs need, and those that Snakemake
makes each job import before its own."""

import os

SNAKEMAKE = ("snakemake.logging", "snakemake.iocontainers", "snakemake.script")
LIBRARY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _all_in(*place: str) -> tuple[str, ...]:
    """The modules in a folder of the library; none where a copy of it lacks the folder."""
    folder = os.path.join(LIBRARY, *place)
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    stems = [name[:-3] for name in names if name.endswith(".py") and name[0].islower()]
    return tuple(".".join(("muonlab", *place, stem)) for stem in stems)


# Modules that jobs import later are here, too (torch._dynamo is imported when an optimizer is
# built, and pyarrow.pandas_compat when a table is written).
TORCH = (
    *SNAKEMAKE,
    "torch._dynamo",
    "safetensors.torch",
    "safetensors.numpy",
    "pandas",
    "pyarrow.pandas_compat",
    "pyarrow.parquet",
    "tqdm",
    "scipy.sparse.linalg",
    "muonlab.training.run",
    "muonlab.training.images",
    "muonlab.training.language",
    "muonlab.models.mlp",
    "muonlab.models.transformer",
    *_all_in("optim"),
    "muonlab.probes.job",
    "muonlab.probes.spectra",
    "muonlab.probes.curvature",
    "muonlab.probes.quantization",
    "muonlab.probes.descent",
    "muonlab.probes.direction",
)
TABLES = (
    *SNAKEMAKE,
    "pandas",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "scipy.stats",
    "seaborn",
    "muonlab.tuning.rounds",
    "muonlab.tuning.selection",
    "muonlab.report.given",
    "muonlab.report.style",
    *_all_in("report", "tables"),
    *_all_in("report", "figures"),
    *_all_in("report", "texts"),
    *_all_in("report", "across"),
)
