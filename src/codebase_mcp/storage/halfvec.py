"""pgvector's half-precision vectors on the wire: two big-endian int16 (dimensions, zero), then big-endian float16."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER_BYTES = 4


def halfvec_bytes(vectors: NDArray[np.float32]) -> list[bytes]:
    """Wire format of each row of an (n, dimensions) array."""
    count, dimensions = vectors.shape
    rows = np.zeros((count, _HEADER_BYTES + 2 * dimensions), dtype=np.uint8)
    rows[:, :2] = np.frombuffer(np.array([dimensions], dtype=">i2").tobytes(), dtype=np.uint8)
    rows[:, _HEADER_BYTES:] = vectors.astype(">f2").view(np.uint8).reshape(count, 2 * dimensions)
    return [row.tobytes() for row in rows]


def halfvec_array(values: Sequence[bytes], dimensions: int) -> NDArray[np.float32]:
    """The (n, dimensions) array behind values in wire format, as read from the database."""
    expected_bytes = _HEADER_BYTES + 2 * dimensions
    for value in values:
        if len(value) != expected_bytes:
            raise ValueError(f"a vector has {len(value) - _HEADER_BYTES} bytes where {2 * dimensions} were expected")
    raw = np.frombuffer(b"".join(values), dtype=np.uint8).reshape(len(values), expected_bytes)
    return np.ascontiguousarray(raw[:, _HEADER_BYTES:]).view(">f2").astype(np.float32)


def halfvec_literal(vector: NDArray[np.float32]) -> str:
    """The text form of one vector, as in '[0.1,-2]', with the digits that half precision can hold."""
    return "[" + ",".join(f"{value:.5g}" for value in vector.tolist()) + "]"


def encode_halfvec(value: bytes | str) -> bytes:
    """What the driver sends for a parameter: the wire format as it is, or the text form turned into it."""
    if isinstance(value, str):
        numbers = np.array(value.strip("[] ").split(","), dtype=np.float32)
        return halfvec_bytes(numbers.reshape(1, -1))[0]
    return bytes(value)
