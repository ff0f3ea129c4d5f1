"""The matrices that Muon has to orthogonalize in some models, layer by layer."""

from typing import NamedTuple


class ShapeSet(NamedTuple):
    """The hidden matrices of one layer, (out, in) or (experts, out, in), and how many layers.

    Only `timed` layers are stepped where all would take long; the work is the same in each.
    """

    layer: list[tuple[int, ...]]
    layers: int
    timed: int
    model: str


SHAPE_SETS = {
    "fashion": ShapeSet(
        [(15, 784), (15, 15), (15, 15), (10, 15)],
        1,
        1,
        "perceptron 784-15-15-15-10 on FashionMNIST",
    ),
    "tiny": ShapeSet(
        [(32, 32)] * 4 + [(4, 64, 32), (4, 32, 64)],
        2,
        2,
        "mixture of experts, 2 layers of 32, 4 experts of 64",
    ),
    "dense256": ShapeSet(
        [(256, 256)] * 4 + [(1024, 256), (256, 1024)], 4, 4, "dense 4 layers of 256, FF 1024"
    ),
    "moe256": ShapeSet(
        [(256, 256)] * 4 + [(8, 1024, 256), (8, 256, 1024)],
        4,
        1,
        "mixture of experts, 4 layers of 256, 8 experts of 1024",
    ),
    "moe": ShapeSet(
        [(384, 384)] * 4 + [(8, 1536, 384), (8, 384, 1536)],
        6,
        1,
        "mixture of experts, 6 layers of 384, 8 experts of 1536",
    ),
    "88m": ShapeSet(
        [(512, 512)] * 2 + [(256, 512)] * 2 + [(2048, 512), (512, 2048)],
        22,
        1,
        "dense 22 layers of 512, 4 of 8 key-value heads, FF 2048",
    ),
    "124m": ShapeSet(
        [(2304, 768), (768, 768), (3072, 768), (768, 3072)],
        12,
        1,
        "GPT-2 124M, 12 layers of 768, fused QKV, FF 3072",
    ),
}
