"""Which rows or columns of a weight are matrices of their own.

A fused projection holds several maps: queries, keys and values in one weight, or one map per head.
Orthogonalizing the whole weight mixes them; a split treats each part as a matrix of its own, with
its own scale.
Rows (output features) are split for query, key and value weights, columns (input features) for the
attention's output projection.
"""

from torch import Tensor

Split = int | list[int] | dict | None


def blocks(stack: Tensor, split: Split) -> list[Tensor]:
    """The matrices of `stack` (count, m, n) or (count, experts, m, n), as views (k, m', n').

    `split` is None, a number of equal parts of the rows, a list of the parts' rows, or
    {"columns": either} for columns. Parts of one size come as one view where memory allows it.
    """
    stack = stack.flatten(0, -3)
    dim, sizes = part_sizes(stack, split)
    if len(sizes) == 1:
        return [stack]
    count, m, n = stack.shape
    if dim == 1 and len(set(sizes)) == 1:
        return [stack.view(count * len(sizes), sizes[0], n)]
    return list(stack.split(sizes, dim))


def part_sizes(stack: Tensor, split: Split) -> tuple[int, list[int]]:
    """The dimension (1 rows, 2 columns) that is split and the sizes of the parts.

    Raises ValueError where the parts do not add up to the dimension.
    """
    dim, parts = (2, split["columns"]) if isinstance(split, dict) else (1, split)
    size = stack.size(dim)
    if parts is None:
        return dim, [size]
    if isinstance(parts, int):
        if parts < 1 or size % parts:
            raise ValueError(f"split: {size} cannot be cut into {parts} equal parts")
        return dim, [size // parts] * parts
    if min(parts) < 1 or sum(parts) != size:
        raise ValueError(f"split: parts of {list(parts)} do not add up to {size}")
    return dim, list(parts)
