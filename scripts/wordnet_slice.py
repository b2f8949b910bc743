"""Make the part of WordNet 3.0 that the package carries, interp_plugins/sources/data/wordnet.txt.gz, or compare it.

    python scripts/wordnet_slice.py --index imagenet_class_index.json [--nltk-data FOLDER] [--write]

One line a synset, in the order of the wnids: wnid, its parents, and its class index in ImageNet-1k if it has one, with
tabs between. The index file is the one that Keras and torchvision's tutorials use: {"0": ["n01440764", "tench"], ...}.
Needs nltk and its WordNet 3.0 (`python -m nltk.downloader wordnet`). Without --write the packaged file is compared with
what would be made, and the exit code is 1 if they differ. Its sha256 stands in interp_plugins/sources/wordnet.py.
"""

import argparse
import gzip
import hashlib
import json
from importlib.resources import files
from pathlib import Path

from interp_plugins.sources import wordnet

DATA = Path(str(files("interp_plugins.sources"))) / "data" / "wordnet.txt.gz"


def text(index: Path, nltk_data: Path | None) -> str:
    """The file's text."""
    numbers = {wnid: int(number) for number, (wnid, _) in json.loads(index.read_text(encoding="utf-8")).items()}
    if sorted(numbers.values()) != list(range(1000)):
        raise ValueError(f"expected the classes 0 to 999, each with a wnid of its own, in {index}")
    taxonomy = wordnet.read([*numbers, *wordnet.wnids("cifar-10"), *wordnet.wnids("scenes")], nltk_data)
    rows = ((wnid, " ".join(taxonomy.parents(wnid)), str(numbers.get(wnid, ""))) for wnid in taxonomy.ids)
    return "".join("\t".join(row) + "\n" for row in rows)


def main(words: list[str] | None = None) -> int:
    """Make or compare; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="imagenet_class_index.json")
    parser.add_argument("--nltk-data", type=Path, help="folder that holds corpora/wordnet; else where nltk looks")
    parser.add_argument("--write", action="store_true", help="write the file; else compare")
    options = parser.parse_args(words)
    made = text(options.index, options.nltk_data).encode()
    print(f"{len(made.splitlines())} synsets, sha256 {hashlib.sha256(made).hexdigest()}")
    if options.write:
        DATA.write_bytes(gzip.compress(made, 9, mtime=0))
        return 0
    same = made == gzip.decompress(DATA.read_bytes())
    print("the same as the packaged file" if same else f"not the same as {DATA}")
    return 0 if same else 1


if __name__ == "__main__":
    raise SystemExit(main())
