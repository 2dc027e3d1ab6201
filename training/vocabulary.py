"""The tokens of the table and where each starts: WordPiece tokens that code uses, and words of code it would cut up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distill import prune_tokenizer, reduce_dimensions, token_outputs
from minilm import Floats, load_weights, mean_output
from pairs import Package, Words

FEWEST_PACKAGES = 4
"""A word that fewer packages use is a project's own and stays in pieces."""
FEWEST_USES = 60
"""Of a word or a piece, in all packages: what is rarer is spelt with shorter pieces."""
COMMON_RANKS = 8_000
"""Whole words among the first so many of the source vocabulary stay even if no package uses them: queries may."""
LONGEST = 20


def counted(packages: list[Package]) -> tuple[Counter[int], Counter[int]]:
    """Uses of each word (by number), and the number of packages that use it."""
    uses: Counter[int] = Counter()
    spread: Counter[int] = Counter()
    for package in packages:
        texts = package.headers + [query.words for queries in package.queries.values() for query in queries]
        numbers, counts = np.unique(np.concatenate(texts), return_counts=True)
        uses.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
        spread.update(numbers.tolist())
    return uses, spread


def chosen_tokenizer(source: Path, packages: list[Package], words: Words) -> tuple[dict[str, Any], Floats]:
    """The tokenizer as JSON data, and the transformer's output for each of its tokens."""
    full, old_ids = prune_tokenizer(json.loads((source / "tokenizer.json").read_bytes()))
    tokenizer = Tokenizer.from_str(json.dumps(full))
    uses, spread = counted(packages)
    texts = list(words.number)
    added = _new_words(tokenizer, texts, (uses, spread))
    used = _used_pieces(tokenizer, texts, uses, frozenset(added))
    kept = [token for token, rank in full["model"]["vocab"].items() if _is_kept(token, rank, used)]
    weights = load_weights(source / "model.safetensors")
    old = dict(zip(full["model"]["vocab"], old_ids.tolist(), strict=True))
    outputs = token_outputs(weights, np.array([old[token] for token in kept]))
    pieces = [[old[piece] for piece in tokenizer.encode(word, add_special_tokens=False).tokens] for word in added]
    model = {**full["model"], "vocab": {token: number for number, token in enumerate([*kept, *added])}}
    unknown = [{**token, "id": model["vocab"][token["content"]]} for token in full["added_tokens"]]
    return {**full, "model": model, "added_tokens": unknown}, np.concatenate([outputs, _outputs_of(weights, pieces)])


def _new_words(tokenizer: Tokenizer, texts: list[str], counts: tuple[Counter[int], Counter[int]]) -> list[str]:
    uses, spread = counts
    known = tokenizer.get_vocab()
    candidates = [
        number
        for number, text in enumerate(texts)
        if 2 <= len(text) <= LONGEST and text.isascii() and text.isalpha() and text not in known
        if spread[number] >= FEWEST_PACKAGES and uses[number] >= FEWEST_USES
    ]
    candidates.sort(key=lambda number: (-spread[number], -uses[number], texts[number]))
    return [texts[number] for number in candidates]


def _used_pieces(tokenizer: Tokenizer, texts: list[str], uses: Counter[int], added: frozenset[str]) -> Counter[str]:
    used: Counter[str] = Counter()
    for number, encoded in enumerate(tokenizer.encode_batch_fast(texts, add_special_tokens=False)):
        if texts[number] not in added:
            for token in encoded.ids:
                used[token] += uses[number]
    return Counter({tokenizer.id_to_token(token): count for token, count in used.items()})


def _is_kept(token: str, rank: int, used: Counter[str]) -> bool:
    letters = token.removeprefix("##")
    if token == "[UNK]" or (len(letters) == 1 and letters.isascii()):
        return True
    return used[token] >= FEWEST_USES or (rank < COMMON_RANKS and token.isascii() and token.isalpha())


def _outputs_of(weights: dict[str, Floats], pieces: list[list[int]]) -> Floats:
    """The transformer's mean output for `[CLS] pieces [SEP]`, one length after the other."""
    rows = np.zeros((len(pieces), 384))
    for length in sorted({len(ids) for ids in pieces}):
        numbers = [number for number, ids in enumerate(pieces) if len(ids) == length]
        for start in range(0, len(numbers), 256):
            batch = numbers[start : start + 256]
            rows[batch] = mean_output(weights, np.array([[101, *pieces[number], 102] for number in batch]))
    return rows


def token_shares(tokenizer: Tokenizer, words: Words, uses: Counter[int]) -> NDArray[np.float64]:
    """How large a part of all tokens each token is, with half a use for those never seen."""
    counts = np.full(tokenizer.get_vocab_size(), 0.5)
    for number, encoded in enumerate(tokenizer.encode_batch_fast(list(words.number), add_special_tokens=False)):
        np.add.at(counts, encoded.ids, uses[number])
    return counts / counts.sum()


def unit_rows(outputs: Floats, dimensions: int) -> Floats:
    reduced = reduce_dimensions(outputs, dimensions)
    return reduced / np.maximum(np.linalg.norm(reduced, axis=1, keepdims=True), 1e-12)
