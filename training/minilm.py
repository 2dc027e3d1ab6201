"""all-MiniLM-L6-v2 in plain numpy: the six-layer BERT encoder, for sequences of one length at a time.

Everything is computed in float64, so that the rounding to 8 bits that follows does not depend on the
processor, the number of threads or the linear algebra library.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.special import erf

Floats = NDArray[np.float64]
Tensors = dict[str, Floats]

LAYERS = 6
HEADS = 12
LAYER_NORM_EPSILON = 1e-12


def load_weights(path: Path) -> Tensors:
    """The tensors of a safetensors file, as float64; integer buffers are left out."""
    return {name: tensor.astype(np.float64) for name, tensor in load_file(path).items() if tensor.dtype.kind == "f"}


def mean_output(weights: Tensors, token_ids: NDArray[np.int64]) -> Floats:
    """Mean of the last hidden states. `token_ids` is (sequences, length), unpadded; the answer (sequences, width)."""
    states = _embed(weights, token_ids)
    for layer in range(LAYERS):
        states = _layer(weights, f"encoder.layer.{layer}", states)
    return states.mean(axis=1)


def _embed(weights: Tensors, token_ids: NDArray[np.int64]) -> Floats:
    length = token_ids.shape[1]
    states = weights["embeddings.word_embeddings.weight"][token_ids]
    states = states + weights["embeddings.position_embeddings.weight"][:length]
    states = states + weights["embeddings.token_type_embeddings.weight"][0]
    return _normalise(weights, "embeddings.LayerNorm", states)


def _layer(weights: Tensors, name: str, states: Floats) -> Floats:
    attended = _linear(weights, f"{name}.attention.output.dense", _attend(weights, f"{name}.attention.self", states))
    states = _normalise(weights, f"{name}.attention.output.LayerNorm", states + attended)
    widened = _gelu(_linear(weights, f"{name}.intermediate.dense", states))
    narrowed = _linear(weights, f"{name}.output.dense", widened)
    return _normalise(weights, f"{name}.output.LayerNorm", states + narrowed)


def _attend(weights: Tensors, name: str, states: Floats) -> Floats:
    sequences, length, width = states.shape

    def heads(part: str) -> Floats:
        projected = _linear(weights, f"{name}.{part}", states)
        return projected.reshape(sequences, length, HEADS, width // HEADS).transpose(0, 2, 1, 3)

    scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) / np.sqrt(width // HEADS)
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ heads("value")
    return mixed.transpose(0, 2, 1, 3).reshape(sequences, length, width)


def _linear(weights: Tensors, name: str, states: Floats) -> Floats:
    # One large product: numpy would multiply each short sequence by itself, five times slower.
    flat = states.reshape(-1, states.shape[-1]) @ weights[f"{name}.weight"].T
    return (flat + weights[f"{name}.bias"]).reshape(*states.shape[:-1], -1)


def _normalise(weights: Tensors, name: str, states: Floats) -> Floats:
    centred = states - states.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + LAYER_NORM_EPSILON) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _gelu(states: Floats) -> Floats:
    return 0.5 * states * (1.0 + erf(states / np.sqrt(2.0)))
