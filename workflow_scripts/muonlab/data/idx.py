"""Reads IDX, the file format of MNIST and FashionMNIST: a big-endian header, then unsigned bytes.

The header has two zero bytes, a byte for the type (8: unsigned byte), a byte for the number of
dimensions, and four bytes for each dimension. The data follow (Y. LeCun, C. Cortes, C. Burges, The
MNIST database).
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from muonlab.io.errors import UserError

UNSIGNED_BYTE = 8


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array in an IDX file, plain or gzipped, with this number of dimensions.

    Raises UserError if the file is damaged, if its length does not fit its header, or if it holds
    something else (labels instead of images).
    """
    raw = _read_bytes(path)
    if len(raw) < 4 or raw[:2] != b"\0\0":
        raise UserError(f"{path}: is not an IDX file (it does not start with two zero bytes)")
    kind, found = raw[2], raw[3]
    if kind != UNSIGNED_BYTE:
        raise UserError(f"{path}: holds IDX type {kind} instead of unsigned bytes (type 8)")
    if found != dimensions:
        raise UserError(
            f"{path}: has {found} dimension(s) instead of {dimensions} "
            f"(images have 3, labels have 1); is the file mislabelled?"
        )
    header = 4 + 4 * dimensions
    if len(raw) < header:
        raise UserError(f"{path}: ends inside its header; the file is truncated")
    shape = struct.unpack(f">{dimensions}I", raw[4:header])
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(raw) != expected:
        what = "truncated" if len(raw) < expected else "longer than its header says"
        raise UserError(f"{path}: is {what}: it has {len(raw)} bytes instead of {expected}")
    return np.frombuffer(raw, dtype=np.uint8, offset=header).reshape(shape)


def _read_bytes(path: Path) -> bytes:
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as file:
                return file.read()
        return path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as damage:
        raise UserError(f"{path}: is damaged or truncated ({damage})") from damage
    except OSError as failure:
        raise UserError(f"{path}: cannot be read ({failure.strerror or failure})") from failure
