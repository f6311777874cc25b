"""Headers of .npy files, read before the arrays behind them, and archives of such files.

A header that asks for more than the file holds, or for Python objects, is refused, so that nothing
becomes larger than it is on the disk. Imports no jax.
"""

import io
import math
import zipfile
from typing import IO, NamedTuple

import numpy as np
from numpy.lib import format as npy


class Header(NamedTuple):
    """Shape and type of the array in an .npy file."""

    shape: tuple[int, ...]
    dtype: np.dtype
    order: str
    """C or F."""
    offset: int
    """Bytes before the data."""


def header(file: IO, size: int) -> Header:
    """The header of an .npy file of `size` bytes. Raises ValueError unless it fits the file."""
    try:
        version = npy.read_magic(file)
        reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = reader(file)
    except Exception as error:  # numpy parses it as Python: anything may be raised
        raise ValueError(f"not an .npy file ({type(error).__name__})") from None
    if dtype.kind not in "biufc" or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"expected numbers, got {dtype} of {str(shape)[:80]}")
    if file.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{size} bytes, but its header says {dtype} of {str(shape)[:80]}")
    return Header(shape, dtype, "F" if fortran else "C", file.tell())


def array(data: bytes) -> np.ndarray:
    """The array of an .npy file in memory. Raises ValueError."""
    found = header(io.BytesIO(data), len(data))
    flat = np.frombuffer(data, found.dtype, offset=found.offset)
    return flat.reshape(found.shape, order=found.order).copy()  # pyright: ignore


def archive(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of an .npz file in memory that is not compressed. Raises ValueError."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            parts = file.infolist()
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
                raise ValueError("compressed")
            if sum(part.file_size for part in parts) > len(data):
                raise ValueError("parts overlap")
            return {part.filename.removesuffix(".npy"): array(file.read(part)) for part in parts}
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"not an archive ({type(error).__name__})") from None
