"""How far the shipped table agrees with the transformer it was made from.

    python training/compare.py

Embeds 300 headers of the Python standard library with both and correlates the cosines of all pairs.
Needs the package installed, the requirements beside this file and the weights that train.py fetched.
"""

from __future__ import annotations

import ast
import asyncio
import random
import sysconfig
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from tokenizers import Tokenizer

from codebase_mcp.indexing.embed import checked_vectors, local_embedder
from codebase_mcp.indexing.terms import header
from distill import CACHE, DIMENSIONS, fetch_source
from minilm import Floats, load_weights, mean_output

HEADERS = 300
NAMES_PER_HEADER = 5
TEACHER_DIMENSIONS = 384


def main() -> None:
    headers = random.Random(0).sample(standard_library_headers(), HEADERS)
    student = asyncio.run(local_embedder().embed_documents(headers))
    teacher = teacher_vectors(headers)
    above_diagonal = np.triu_indices(HEADERS, k=1)
    ours, theirs = ((vectors @ vectors.T)[above_diagonal] for vectors in (student, teacher))
    print(f"{len(ours):,} pairs of {HEADERS} headers, {DIMENSIONS} against {TEACHER_DIMENSIONS} dimensions")
    print(f"Pearson {pearsonr(ours, theirs).statistic:.3f}, Spearman {spearmanr(ours, theirs).statistic:.3f}")
    print(f"same nearest header: {np.mean(nearest(student) == nearest(teacher)):.1%}")


def standard_library_headers() -> list[str]:
    """One header for every five functions and classes of each module."""
    root = Path(sysconfig.get_path("stdlib"))
    headers = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if not {"site-packages", "test", "tests", "lib2to3", "idlelib"} & set(relative.parts):
            names = defined_names(path)
            groups = range(0, len(names), NAMES_PER_HEADER)
            headers += [header(str(relative), names[start : start + NAMES_PER_HEADER]) for start in groups]
    return headers


def defined_names(path: Path) -> list[str]:
    nodes = ast.walk(ast.parse(path.read_bytes()))
    return [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]


def teacher_vectors(texts: list[str]) -> NDArray[np.float32]:
    source = fetch_source(CACHE)
    weights = load_weights(source / "model.safetensors")
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    outputs = [mean_output(weights, np.array([tokenizer.encode(text).ids])) for text in texts]
    return checked_vectors(np.concatenate(outputs), len(texts), TEACHER_DIMENSIONS)


def nearest(vectors: NDArray[np.float32] | Floats) -> NDArray[np.int64]:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1.0)
    return cosines.argmax(axis=1)


if __name__ == "__main__":
    main()
