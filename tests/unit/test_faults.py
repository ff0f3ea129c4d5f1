"""A run on a bad day: a full disk, damaged files, SIGTERM at any moment, no file locks. Nothing is
lost or half-written, the bytes are those of an undisturbed run, and a sentence says what happened.
"""

import errno
import os
import random
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import (  # noqa: F401 (fixtures)
    config,
    contents,
    data,
    in_child,
    signalled_at,
    train,
    uninterrupted,
)

from muonlab.data.labelled import load_split
from muonlab.data.tokens import SplitFiles, load_tokens
from muonlab.io.errors import UserError
from muonlab.training.loop import Trainer

TOTAL = 4 * 18


def stopped_at(step, folder, data, monkeypatch):  # noqa: F811
    """Trains until the process is killed before this step, with a checkpoint at every stretch."""
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", signalled_at(step, signal.SIGKILL))
        assert in_child(lambda: train(folder, data, config())) == -9
    return folder.with_name("run.partial") / "checkpoint.pt"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip(file: Path) -> None:
    """Changes one byte in the middle of the largest tensor."""
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        tensor = archive.read(largest)
    content[content.index(tensor) + len(tensor) // 2] ^= 0xFF
    file.write_bytes(content)


def replace(file: Path) -> None:
    torch.save([1, 2, 3], file)


def pickled(file: Path) -> None:
    """A checkpoint that would run code if it were unpickled."""
    import pickle

    class Attack:
        def __reduce__(self):
            return (os.mkdir, (str(file.parent / "attacked"),))

    file.write_bytes(pickle.dumps(Attack()))


@pytest.mark.parametrize("damage", [cut, empty, flip, replace, pickled])
def test_a_damaged_checkpoint_is_said_and_the_run_starts_anew(
    damage,
    tmp_path,
    data,  # noqa: F811
    uninterrupted,  # noqa: F811
    monkeypatch,
    capfd,
):
    folder = tmp_path / "run"
    damage(stopped_at(40, folder, data, monkeypatch))
    assert in_child(lambda: train(folder, data, config())) == 0
    assert "the checkpoint cannot be read" in capfd.readouterr().out
    assert contents(folder) == uninterrupted
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (it takes root)")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Writes a file that leaves no room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as full:
            assert full.errno == errno.ENOSPC
    return filler


def test_a_disk_that_is_full_for_a_while_costs_only_checkpoints(
    small_disk,
    data,  # noqa: F811
    uninterrupted,  # noqa: F811
    monkeypatch,
    capfd,
):
    settings, update = config(), Trainer._update
    # Snapshots are results: they cannot wait for room. So none is due while the disk is full.
    assert settings["training"]["snapshot_every"] == 20

    def patched(self, first):
        if self.step == 41:
            fill(small_disk)
        if self.step == 53:
            (small_disk / "filler").unlink()
        return update(self, first)

    folder = small_disk / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", patched)
        assert in_child(lambda: train(folder, data, settings)) == 0
    said = capfd.readouterr().out
    assert "cannot be written" in said and "the one before it stays" in said
    assert contents(folder) == uninterrupted
    assert [path.name for path in small_disk.iterdir()] == ["run"]


def test_a_disk_that_stays_full_fails_the_run_which_goes_on_later(
    small_disk,
    data,  # noqa: F811
    uninterrupted,  # noqa: F811
    monkeypatch,
    capfd,
):
    update, folder = Trainer._update, small_disk / "run"

    def patched(self, first):
        if self.step == 41:
            fill(small_disk)
        return update(self, first)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", patched)
        assert in_child(lambda: train(folder, data, config())) != 0
    assert not (folder / "run.json").exists()
    (small_disk / "filler").unlink()
    assert not [path for path in small_disk.rglob("*") if ".tmp" in path.name], "no half files"
    capfd.readouterr()
    assert in_child(lambda: train(folder, data, config())) == 0
    assert "resumes at step 4" in capfd.readouterr().out
    assert contents(folder) == uninterrupted


MOMENTS = 50


@pytest.mark.slow
def test_sigterm_at_many_moments(tmp_path, data, uninterrupted):  # noqa: F811
    """From the start of the process to its end: loading, training, evaluations, publishing."""
    begun = time.monotonic()
    assert in_child(lambda: train(tmp_path / "whole", data, config())) == 0
    seconds = time.monotonic() - begun
    outcomes = []
    for number in range(MOMENTS):
        folder = tmp_path / f"{number}" / "run"

        after = random.uniform(0.02, 1.1) * seconds

        def interrupted(folder=folder, after=after):
            # An alarm whose handler sends the signal, so that it comes at that moment of this
            # process and not of its parent.
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
            signal.setitimer(signal.ITIMER_REAL, after)
            train(folder, data, config())

        outcomes.append(in_child(interrupted))
        assert outcomes[-1] in (0, 143, -signal.SIGTERM)
        if outcomes[-1] != 0:
            assert not (folder / "run.json").exists(), "whole, or not there"
        assert in_child(lambda folder=folder: train(folder, data, config())) == 0
        assert contents(folder) == uninterrupted, f"interrupted at moment {number}: {outcomes[-1]}"
        assert [path.name for path in folder.parent.iterdir()] == ["run"]
    assert len(set(outcomes)) > 1, "some moments were before the end and some behind it"


PUBLISHED = pytest.mark.parametrize("written", ["metrics.parquet", "records", "run.json"])


def train_struck(by: int, written: str, folder: Path, data: Path) -> int:  # noqa: F811
    """Trains in a child that gets the signal `by` when `written` is put in place; returns how the
    child ended."""
    rename = os.replace

    def struck(source, target, **more):
        if Path(target).name == written and Path(target).parent == folder:
            os.kill(os.getpid(), by)
        rename(source, target, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", struck)
        return in_child(lambda: train(folder, data, config()))


@PUBLISHED
def test_sigterm_while_publishing_is_too_late(written, tmp_path, data, uninterrupted):  # noqa: F811
    folder = tmp_path / "run"
    assert train_struck(signal.SIGTERM, written, folder, data) == 0
    assert contents(folder) == uninterrupted
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@PUBLISHED
def test_a_kill_while_publishing_leaves_nothing_behind_in_the_end(
    written,
    tmp_path,
    data,  # noqa: F811
    uninterrupted,  # noqa: F811
):
    folder = tmp_path / "run"
    assert train_struck(signal.SIGKILL, written, folder, data) == -signal.SIGKILL
    assert list(folder.glob(".*.tmp*")), "the file that was being written"
    assert in_child(lambda: train(folder, data, config())) == 0
    assert contents(folder) == uninterrupted
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_on_a_file_system_without_flock(
    tmp_path,
    data,  # noqa: F811
    uninterrupted,  # noqa: F811
    monkeypatch,
    capfd,
):
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    train(tmp_path / "run", data, config())
    assert "has no file locks (flock): a lease keeps other processes away" in capfd.readouterr().out
    assert contents(tmp_path / "run") == uninterrupted
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", ["train.tokens", "train.offsets"])
@pytest.mark.parametrize("lost", [1, 8, 10**6])
def test_a_truncated_token_file_is_one_sentence(name, lost, tmp_path):
    files = SplitFiles(tmp_path, "train", np.dtype("<u2"))
    np.arange(100, dtype="<u2").tofile(files.tokens)
    np.array([0, 40, 100], dtype="<i8").tofile(files.offsets)
    facts = {"dtype": "uint16", "splits": {"train": {"tokens": 100, "documents": 2}}}
    load_tokens(tmp_path, "train", facts)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: max(0, len(content) - lost)])
    with pytest.raises(UserError, match="it is damaged, and preparing the data again") as found:
        load_tokens(tmp_path, "train", facts)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("damage", [cut, empty])
def test_a_truncated_file_of_images_is_one_sentence(damage, data, tmp_path):  # noqa: F811
    file = tmp_path / "train.safetensors"
    file.write_bytes((data / "train.safetensors").read_bytes())
    damage(file)
    with pytest.raises(UserError, match="train.safetensors: is damaged .*preparing the data again"):
        load_split(file)
