"""Resume: the state of an unfinished run, in a folder that the workflow does not know.

The folder stands beside the run's own and outlives a failed attempt. It holds `checkpoint.pt`,
always a whole one, and the snapshots taken so far. A checkpoint carries a stamp of all that a
run depends on and is ignored when the stamp differs: a resumed run is the same run, bit by bit.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from muonlab.io.atomic import replacing


def stamp(config: dict, code: str, data: dict, device: str) -> str:
    """A digest of what a run's bytes depend on."""
    facts = [config, code, data, device, torch.__version__, torch.get_num_threads()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class Workspace:
    """The folder of an unfinished run."""

    def __init__(self, folder: Path, stamp: str):
        self.folder, self.stamp = folder, stamp
        self.snapshots = folder / "snapshots"
        self.snapshots.mkdir(parents=True, exist_ok=True)

    def save(self, state: dict) -> None:
        """Replaces the checkpoint by `state` (tensors and plain values)."""
        with replacing(self.folder / "checkpoint.pt") as temporary:
            torch.save({"stamp": self.stamp, **state}, temporary)

    def load(self) -> dict | None:
        """The last checkpoint of this very run, or None; what belongs to another is cleared."""
        path = self.folder / "checkpoint.pt"
        if path.exists():
            try:
                state = torch.load(path, weights_only=True)
            except Exception as damage:  # noqa: BLE001 (any unreadable file means: start anew)
                print(f"the checkpoint cannot be read ({damage}); the run starts anew")
                state = {"stamp": None}
            if state["stamp"] == self.stamp:
                return state
            print("the checkpoint belongs to other settings, code or data; the run starts anew")
        self.remove()
        self.snapshots.mkdir(parents=True)
        return None

    def snapshot(self, step: int, model: nn.Module) -> None:
        """Saves the weights as they are after `step` updates."""
        save_weights(self.snapshots / f"{step:08d}.safetensors", model)

    def publish_snapshots(self, target: Path) -> None:
        """Puts the snapshots into `target`, all or none, and keeps them here until `remove`.

        Hard links, so that an attempt that dies between this and its end has lost nothing.
        """
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(self.snapshots, temporary, copy_function=_link_or_copy)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def save_weights(path: Path, model: nn.Module) -> None:
    """The model's parameters as safetensors, atomically."""
    tensors = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # file systems without hard links
        shutil.copy2(source, target)
