"""What the distances between ImageNet's 1,000 classes in WordNet cost, beside nltk's `shortest_path_distance`.

    python -m benchmarks taxonomy [--classes 1000] [--rounds 1] [--nltk-data FOLDER]

nltk is asked for each of the 499,500 pairs once, its synsets being loaded; one row of ours includes reading the
packaged WordNet. CPU times of one process in interleaved rounds; quote the ratios. The aim is 0.005. Every number is
compared. A round takes nltk about a minute.
Needs nltk and its WordNet 3.0; without them its row says why it did not run.
"""

import argparse
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Timing, interleave
from interp_plugins.sources import wordnet

OURS, READING, TREE, NLTK = "interp-plugins", "the same, reading included", "minimal tree", "nltk"


def main(words: list[str] | None = None) -> str:
    """Run, print the table and return it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=1000, help="the first of ImageNet's")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--nltk-data", type=Path, help="folder that holds corpora/wordnet.zip; else where nltk looks")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    shown = table(measured(wordnet.wnids("imagenet-1k")[: options.classes], options.rounds, options.nltk_data))
    print(shown)
    return shown


def measured(ids: tuple[str, ...], rounds: int, nltk_data: Path | None) -> Timing:
    """All variants in rounds; the first pair of classes warms each up."""
    loaded: list[Any] = []

    def ours(some: tuple[str, ...] = ids) -> Tensor:
        return wordnet.packaged().distances(some)

    def reading(some: tuple[str, ...] = ids) -> Tensor:
        wordnet._packaged.cache_clear()
        return ours(some)

    def tree(some: tuple[str, ...] = ids) -> Tensor:
        return wordnet.packaged().distances(some, "minimal tree")

    def load() -> None:
        loaded.extend(synsets(ids, nltk_data))
        pairs(loaded[:2])

    variants = {OURS: ours, READING: reading, TREE: tree, NLTK: lambda: pairs(loaded)}
    warm = {OURS: lambda: ours(ids[:2]), READING: lambda: reading(ids[:2]), TREE: lambda: tree(ids[:2]), NLTK: load}
    return interleave(variants, rounds, warm=warm)


def synsets(ids: tuple[str, ...], nltk_data: Path | None) -> list[Any]:
    """The synsets of some wnids, by nltk."""
    import nltk
    from nltk.corpus import wordnet as theirs

    if nltk_data is not None:
        nltk.data.path.insert(0, str(nltk_data.resolve()))
    try:
        return [theirs.synset_from_pos_and_offset("n", int(wnid[1:])) for wnid in ids]
    except LookupError:
        raise FileNotFoundError("nltk finds no WordNet; name the folder that holds it with --nltk-data") from None


def pairs(some: list[Any]) -> Tensor:
    """The distances between synsets by nltk, each pair asked for once."""
    found = torch.zeros(len(some), len(some), dtype=torch.int64)
    above = [one.shortest_path_distance(other) for one, other in combinations(some, 2)]
    rows, columns = torch.triu_indices(len(some), len(some), 1)
    found[rows, columns] = torch.tensor(above)
    return found + found.T


def table(timing: Timing) -> str:
    """One row a variant: milliseconds, the ratio to nltk, and whether its distances are nltk's."""
    lines = ["|  | CPU ms | / nltk | distances |", "|---|---|---|---|"]
    peer = NLTK not in timing.problems
    for name, seconds in timing.seconds.items():
        ratio, equal = "-", "-"
        if peer:
            low, high = timing.spread(name, NLTK)
            ratio = f"{timing.ratio(name, NLTK):.4f} ({low:.4f} to {high:.4f})" if name != NLTK else "1"
            differ = int((timing.results[name] != timing.results[NLTK]).triu().sum())
            equal = "equal everywhere" if not differ else f"{differ} pairs differ"
        lines.append(f"| {name} | {1000 * sorted(seconds)[len(seconds) // 2]:.0f} | {ratio} | {equal} |")
    lines += [f"| {name} | not run: {why} | | |" for name, why in timing.problems.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
