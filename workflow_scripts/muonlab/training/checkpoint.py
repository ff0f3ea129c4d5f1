"""Resume: the state of an unfinished run, in a folder that the workflow does not know.

The folder stands beside the run's own and outlives a failed attempt. It holds `checkpoint.pt`,
always a whole one, and the snapshots and updates kept so far. A checkpoint carries a stamp of all
that a run depends on and is ignored when the stamp differs: a resumed run is the same run, bit by
bit.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from muonlab.io.atomic import replacing


def stamp(config: dict, code: str, data: dict, device: str) -> str:
    """A digest of what a run's bytes depend on."""
    facts = [config, code, data, device, torch.__version__, torch.get_num_threads()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class Workspace:
    """The folder of an unfinished run."""

    def __init__(self, folder: Path, stamp: str):
        self.folder, self.stamp = folder, stamp
        self.snapshots, self.updates = folder / "snapshots", folder / "updates"
        self._make()

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
        self._make()
        return None

    def _make(self) -> None:
        for folder in (self.snapshots, self.updates):
            folder.mkdir(parents=True, exist_ok=True)

    def snapshot(self, step: int, model: nn.Module) -> None:
        """Saves the weights as they are after `step` updates."""
        save_weights(self.snapshots / f"{step:08d}.safetensors", model)

    def keep_update(self, step: int, update: dict[str, Tensor]) -> None:
        """Saves what the last of `step` updates added to the weights."""
        save_tensors(self.updates / f"{step:08d}.safetensors", update)

    def publish(self, name: str, target: Path) -> None:
        """Puts the folder `name` (snapshots or updates) at `target`, all of it or nothing, and
        keeps it here until `remove`.

        Hard links, so that an attempt that dies between this and its end has lost nothing.
        """
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(self.folder / name, temporary, copy_function=_link_or_copy)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def save_weights(path: Path, model: nn.Module) -> None:
    """The model's parameters as safetensors, atomically."""
    save_tensors(path, dict(model.named_parameters()))


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """The tensors as safetensors, atomically."""
    with replacing(path) as temporary:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, temporary)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # file systems without hard links
        shutil.copy2(source, target)
