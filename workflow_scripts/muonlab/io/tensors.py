"""Stores groups of named tensors in one safetensors file, in which a tensor is called
group/name."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from muonlab.io.atomic import replacing


def write_tensors(path: Path, groups: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Writes the tensors of all groups, atomically."""
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group, members in groups.items()
        for name, tensor in members.items()
    }
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def read_tensors(path: Path, group: str) -> dict[str, Tensor]:
    """The tensors of one group by name, without reading the others; empty if there is no such
    group."""
    start = f"{group}/"
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(start)]  # noqa: SIM118
        return {name.removeprefix(start): file.get_tensor(name) for name in names}
