"""Make the embedding table that ships with the package: train one that starts from all-MiniLM-L6-v2.

    python training/train.py [--output DIRECTORY]

Needs the packages that fetch.py fetched and mine.py read. The runs of several seeds are averaged, weighted by how rare
their tokens are, and rounded to 8 bits. Same packages, same versions and one thread give the same bytes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from distill import DIMENSIONS, MODEL_DIRECTORY, fetch_source, quantise, write_model
from fetch import CACHE, sources
from judge import judge
from learn import Learner, Recipe, averaged
from pairs import Bags, Package, Words, load
from vocabulary import chosen_tokenizer, counted, token_shares, unit_rows

SEEDS = (1, 2, 3)
RECIPE = Recipe()
RARITY = 3e-4
SMALLEST_WEIGHT = 1e-3
STEPS_PER_REPORT = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=MODEL_DIRECTORY, help="where the model files are written")
    output: Path = parser.parse_args().output
    words = Words()
    packages = load(sources(), words)
    held_out = [package for package in packages if package.split == "validation"]
    training = [package for package in packages if package.split == "train"]
    tokenizer, outputs = chosen_tokenizer(fetch_source(CACHE), training, words)
    encoder = Tokenizer.from_str(json.dumps(tokenizer))
    bags = Bags(encoder, words)
    shares = token_shares(encoder, words, counted(training)[0])
    weights = np.log(RARITY / (RARITY + shares) + SMALLEST_WEIGHT).astype(np.float32)
    start = unit_rows(outputs, DIMENSIONS).astype(np.float32)
    runs = [trained(start, weights, seed, (training, held_out), bags) for seed in SEEDS]
    table = averaged(runs).table.astype(np.float64)
    write_model(output, table, tokenizer)
    rows, scales = quantise(table)
    print(f"float32   {judge(table.astype(np.float32), bags, held_out)}")
    print(f"as written {judge(rows * scales[:, None], bags, held_out)}")


def trained(
    start: NDArray[np.float32],
    weights: NDArray[np.float32],
    seed: int,
    packages: tuple[list[Package], list[Package]],
    bags: Bags,
) -> Learner:
    """One run; what it scores on the packages held out is printed on the way."""
    training, held_out = packages
    learner = Learner(start, weights, replace(RECIPE, seed=seed))
    for step in learner.learn(training, bags):
        if step % STEPS_PER_REPORT == 0:
            print(f"seed {seed}, step {step}: {judge(learner.table, bags, held_out)}", flush=True)
    return learner


if __name__ == "__main__":
    main()
