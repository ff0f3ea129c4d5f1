"""The state of an unfinished run, from which it is resumed, in a folder unknown to the workflow.

The folder lies beside the run's own and survives a failed attempt. It holds `checkpoint.pt`, which
is always complete, and the observers' files. A checkpoint has a stamp of everything that the run's
numbers depend on, and is ignored if the stamp differs: a resumed run gives bit-identical results.
"""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import torch

from muonlab.io.atomic import replacing
from muonlab.io.errors import first_line


def stamp(config: dict, code: str, data: dict, device: str) -> str:
    """A digest of what a run's numbers depend on; `code` is the digest of the training code."""
    facts = [config, code, data, device, torch.__version__, torch.get_num_threads()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_checkpoint(folder: Path) -> dict:
    """The checkpoint in the folder of an unfinished run."""
    return torch.load(folder / "checkpoint.pt", weights_only=True)


class Workspace:
    """The folder of an unfinished run."""

    def __init__(self, folder: Path, stamp: str):
        self.folder, self.stamp = folder, stamp
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, state: dict) -> None:
        """Replaces the checkpoint by `state` (tensors and plain values).

        If it cannot be written, because the disk is full, say, that is said, and the last one
        stays: days of training need not end because a disk was full for a minute.
        """
        try:
            with replacing(self.folder / "checkpoint.pt") as temporary:
                torch.save({"stamp": self.stamp, **state}, temporary)
        except (OSError, RuntimeError) as failure:  # torch's writer raises RuntimeError
            free = shutil.disk_usage(self.folder).free
            print(
                f"the checkpoint of step {state['run']['step']} cannot be written "
                f"({first_line(failure)}; {free / 2**20:.1f} MB are free); the one before it stays",
                flush=True,
            )

    def load(self) -> dict | None:
        """The last checkpoint of this run, or None; files of any other run are deleted."""
        path = self.folder / "checkpoint.pt"
        if path.exists():
            try:
                # torch writes a checksum of each tensor and does not compare it.
                with zipfile.ZipFile(path) as archive:
                    if damaged := archive.testzip():
                        raise ValueError(f"{damaged} is damaged")
                state = read_checkpoint(self.folder)
                if not isinstance(state, dict) or "stamp" not in state:
                    raise ValueError("it holds something else")
            except Exception as damage:  # noqa: BLE001 (any unreadable file means: start anew)
                print(f"the checkpoint cannot be read ({first_line(damage)}); the run starts anew")
                state = {"stamp": None}
            if state["stamp"] == self.stamp:
                return state
            print("the checkpoint belongs to other settings, code or data; the run starts anew")
        self.remove()
        self.folder.mkdir(parents=True)
        return None

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
