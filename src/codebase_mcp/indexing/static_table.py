"""A table of one vector per token, in the layout of model2vec: a text points where the sum of its tokens points."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer


class StaticTable:
    """Thread-safe; loads in a tenth of a second. model2vec, which reads the same files, takes several times that."""

    def __init__(self, tokenizer: Tokenizer, rows: NDArray[np.int8], scales: NDArray[np.float32]) -> None:
        """A token's vector is its row times its scale; kept apart, they take a quarter of the memory."""
        self._tokenizer = tokenizer
        self._rows = rows
        self._scales = scales

    @classmethod
    def load(cls, directory: Path) -> StaticTable:
        """Raises OSError, KeyError, ValueError or SafetensorError when the files cannot be used."""
        # Its threads would compete with the processes that parse, and it warns when a process forks after using them.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        tensors = load_file(directory / "model.safetensors")
        rows, scales = tensors["embeddings"], tensors["weights"].astype(np.float32)
        tokenizer = Tokenizer.from_buffer((directory / "tokenizer.json").read_bytes())
        if tokenizer.get_vocab_size() != len(rows):
            raise ValueError(f"{len(rows)} rows for {tokenizer.get_vocab_size()} tokens")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        _silence_unknown(tokenizer, scales)
        return cls(tokenizer, rows, scales)

    def sums(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The sum of each text's vectors (texts, dimensions); zeros without a known token."""
        encoded = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        tokens = [encoding.ids for encoding in encoded]
        lengths = np.array([len(ids) for ids in tokens], dtype=np.int64)
        sums = np.zeros((len(tokens), self._rows.shape[1]), dtype=np.float32)
        # Texts of one length at a time make rectangles, which numpy sums twice as fast as ragged runs.
        for length in set(lengths[lengths > 0].tolist()):
            places = np.flatnonzero(lengths == length)
            ids = np.array([tokens[place] for place in places])
            sums[places] = (self._rows[ids] * self._scales[ids][..., None]).sum(axis=1)
        return sums


def _silence_unknown(tokenizer: Tokenizer, scales: NDArray[np.float32]) -> None:
    """What is in no vocabulary says nothing."""
    unknown = getattr(tokenizer.model, "unk_token", None)
    if unknown is not None:
        scales[tokenizer.token_to_id(unknown)] = 0
