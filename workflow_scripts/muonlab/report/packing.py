"""The reproducibility package: an archive of code, configuration, environment, records and results
that verifies itself wherever it is unpacked."""

import gzip
import hashlib
import importlib.metadata
import io
import json
import platform
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from muonlab.io.atomic import replacing

# Code and configuration, as they lie in the project.
CODE = ("Snakefile", "config.yaml", "config.schema.json", "rules", "workflow_scripts", "envs")
CODE += ("profiles", "studies", "pyproject.toml", "README.md", "LICENSE", "CONTRIBUTING.md")
SKIPPED = ("__pycache__", ".snakemake", ".pytest_cache", ".ruff_cache")
INSIDE = ("geometry.parquet", "components.parquet")  # of a run's records; weights are left out
MANIFEST, JOBS, CHECKLIST, ENVIRONMENT = (
    "MANIFEST.json",
    "jobs.json",
    "CHECKLIST.md",
    "ENVIRONMENT.txt",
)
VERIFY = "verify.py"


def pack(
    target: Path,
    project: Path,
    configs: Sequence[Path],
    results: Sequence[Path],
    jobs: Sequence[Mapping],
    checklist: str,
) -> None:
    """Writes the archive `target`, a .tar.gz in which everything lies in one folder.

    `configs` are the files that were laid over config.yaml, `results` the files of the results,
    named from the project's folder as everywhere, and `jobs` say how each table was made: its
    function, values, inputs and outputs. The same content gives the same bytes.
    """
    files: dict[str, Path | bytes] = {}
    for name in CODE:
        files |= {f"code/{file.as_posix()}": project / file for file in _listed(project, name)}
    files |= {f"config/{i}-{file.name}": file for i, file in enumerate(configs)}
    needed = {Path(path) for job in jobs for own in job["inputs"].values() for path in own}
    for path in sorted({*results, *needed}):
        files |= {file.as_posix(): project / file for file in _contents(project, path)}
    files[JOBS] = json.dumps(jobs, ensure_ascii=False).encode()
    files[CHECKLIST] = checklist.encode()
    files[ENVIRONMENT] = environment().encode()
    files[VERIFY] = (project / "workflow_scripts" / VERIFY).read_bytes()
    digests = {name: digest(content) for name, content in sorted(files.items())}
    files[MANIFEST] = json.dumps(digests, indent=1).encode()
    root = target.name.removesuffix(".tar.gz")
    with (
        replacing(target) as temporary,
        gzip.GzipFile(temporary, "wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(files):
            _add(archive, f"{root}/{name}", files[name])


def digest(content: Path | bytes) -> str:
    """SHA-256 of a file or of bytes."""
    found = hashlib.sha256()
    if isinstance(content, bytes):
        found.update(content)
    else:
        with open(content, "rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def environment() -> str:
    """Python, the machine, and every installed package with its version."""
    packages = {
        (found.metadata["Name"] or "").lower(): found.version
        for found in importlib.metadata.distributions()
    }
    lines = [f"python {platform.python_version()}", f"platform {platform.platform()}"]
    lines += [f"implementation {sys.implementation.name}", ""]
    return "\n".join([*lines, *(f"{n}=={v}" for n, v in sorted(packages.items()) if n)]) + "\n"


def _listed(project: Path, name: str) -> Iterator[Path]:
    """The files of a part of the project, relative to it."""
    path = project / name
    found: Iterable[Path] = path.rglob("*") if path.is_dir() else [path]
    for file in sorted(found):
        if file.is_file() and not set(file.parts) & set(SKIPPED) and file.suffix != ".pyc":
            yield file.relative_to(project)


def _contents(project: Path, path: Path) -> Iterator[Path]:
    """A file, or what tables read of a run's records."""
    if (project / path).is_dir():
        yield from (path / name for name in INSIDE if (project / path / name).is_file())
    elif (project / path).is_file():
        yield path


def _add(archive: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    data = content if isinstance(content, bytes) else content.read_bytes()
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o644, 0
    archive.addfile(info, io.BytesIO(data))
