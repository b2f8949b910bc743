"""WordNet 3.0's nouns as a taxonomy: the part that comes with this package, and the whole through nltk.

A class is addressed by its wnid, 'n' and the eight digits of its synset's place in WordNet 3.0: two ImageNet classes
are called "crane", and the numbers in names such as dog.n.01 differ between copies. WordNet 3.1 has other places.

What comes along, with WordNet's licence beside it, is every way to the root from the classes of ImageNet-1k, CIFAR-10
and the drawn scenes; `scripts/wordnet_slice.py` makes it. Nothing here ever downloads anything.
"""

import gzip
import hashlib
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

from interp_plugins.errors import HostMissing
from interp_plugins.foundation.taxonomy import Taxonomy
from interp_plugins.sources import cifar, world

LabelSet = Literal["imagenet-1k", "cifar-10", "scenes"]

SHA256: Final = "ea3ac0a2bbdafdf49a640decde679e6799fe9f22e1cc7dcbab00dff3352aea20"  # of the text in the packaged file
WNID: Final = re.compile(r"n\d{8}")
DOG: Final = "n02084071"  # where WordNet 3.0 has it; other versions have it elsewhere
CURE: Final = (
    "type `python -m nltk.downloader wordnet`, or name the folder that holds corpora/wordnet.zip as nltk_data or in "
    "NLTK_DATA"
)

_reading = threading.Lock()  # nltk's reader moves about in one open file
_readers: dict[str, Any] = {}


def packaged() -> Taxonomy:
    """The taxonomy that comes with the package: all ways to the root from ImageNet-1k, CIFAR-10 and the drawn scenes.

    Read when it is first asked for.

    Raises:
        ValueError: The packaged file is not the one that was shipped.
    """
    return _packaged()[0]


def wnids(label_set: LabelSet) -> tuple[str, ...]:
    """The wnid of each class of a label set, in the order of the class indices.

    Args:
        label_set: "imagenet-1k" in the order of torchvision, timm and Keras, "cifar-10", or "scenes", the drawn world.

    Raises:
        ValueError: The label set is unknown, or the packaged file is not the one that was shipped.
    """
    match label_set:
        case "imagenet-1k":
            return _packaged()[1]
        case "cifar-10":
            return tuple(cifar.CLASSES.values())
        case "scenes":
            return tuple(world.THINGS.values())
    raise ValueError(f"expected a label set of 'imagenet-1k', 'cifar-10' or 'scenes', got {label_set!r}")


def read(wnids: Sequence[str], nltk_data: Path | str | None = None) -> Taxonomy:
    """The taxonomy of any nouns, with all ways up to the root, from nltk's copy of WordNet 3.0 on this machine.

    Threads may call this at the same time; they wait for each other.

    Args:
        wnids: At least one, such as "n02084071".
        nltk_data: The folder that holds corpora/wordnet or corpora/wordnet.zip; None: where nltk looks, above all
            the folders that NLTK_DATA names.

    Raises:
        HostMissing: nltk is not installed.
        FileNotFoundError: WordNet is not there.
        ValueError: A wnid is not one, or not WordNet 3.0's; or the WordNet that is there is another version.
    """
    if not wnids:
        raise ValueError("expected at least one wnid, got none")
    for wnid in wnids:
        if not WNID.fullmatch(wnid):
            raise ValueError(f"expected wnids like 'n02084071', a noun's place in WordNet 3.0, got {wnid!r}")
    parents: dict[str, list[str]] = {}
    with _reading, _nouns(nltk_data) as above:
        for wnid in (queue := list(wnids)):
            if wnid not in parents:
                parents[wnid] = above(wnid)
                queue += parents[wnid]
    return Taxonomy(parents)


@cache
def _packaged() -> tuple[Taxonomy, tuple[str, ...]]:
    """The packaged taxonomy, and ImageNet's wnids in the order of their indices."""
    file = files("interp_plugins.sources") / "data" / "wordnet.txt.gz"
    try:
        text = gzip.decompress(file.read_bytes())
    except (OSError, EOFError, zlib.error):
        text = b""
    if hashlib.sha256(text).hexdigest() != SHA256:
        raise ValueError(
            f"expected the WordNet that was shipped in {file}, got another or none; reinstall this package"
        )
    rows = [line.split("\t") for line in text.decode().splitlines()]  # wnid, parents, class index
    indices = {int(index): wnid for wnid, _, index in rows if index}
    return Taxonomy({wnid: parents.split() for wnid, parents, _ in rows}), tuple(
        wnid for _, wnid in sorted(indices.items())
    )


@contextmanager
def _nouns(nltk_data: Path | str | None) -> Iterator[Callable[[str], list[str]]]:
    """A function that gives a noun's parents; for one thread at a time."""
    try:
        import nltk.data  # here, for the seconds that it takes to load
    except ImportError as error:
        raise HostMissing(
            "nltk is needed for synsets that are not packaged: pip install 'interp-plugins[wordnet]'"
        ) from error
    folders: list[str] = nltk.data.path
    named = [] if nltk_data is None else [str(Path(nltk_data).resolve())]
    added = [folder for folder in named if folder not in folders]
    folders += added  # nltk opens nothing outside its own folders
    try:
        reader = _reader(named or folders)
        with reader.open("data.noun") as lines:
            if _line(lines, DOG)[4:5] != ["dog"]:
                raise ValueError(f"expected WordNet 3.0 in {reader.root}, got another version; {CURE}")
            yield partial(_parents, reader, lines)
    finally:
        for folder in added:
            folders.remove(folder)


def _reader(folders: list[str]) -> Any:
    """The reader for the first copy of WordNet in some folders; it takes seconds to make, and is kept."""
    from nltk.corpus.reader import CorpusReader, WordNetCorpusReader
    from nltk.corpus.util import LazyCorpusLoader
    from nltk.data import find

    for name in ("corpora/wordnet", "corpora/wordnet.zip/wordnet/"):
        try:
            root = find(name, folders)
            break
        except LookupError as error:
            missing = error
    else:
        raise FileNotFoundError(f"expected WordNet 3.0 in {' or '.join(folders)}, got none; {CURE}") from missing
    if str(root) not in _readers:
        languages = LazyCorpusLoader("omw-1.4", CorpusReader, r".*/wn-data-.*\.tab")  # never loaded: no noun needs them
        _readers[str(root)] = WordNetCorpusReader(root, languages)
    return _readers[str(root)]


def _parents(reader: Any, lines: Any, wnid: str) -> list[str]:
    if not _line(lines, wnid):  # looked at first, since the reader answers with a warning
        raise ValueError(f"expected nouns of WordNet 3.0, got {wnid!r}, which is none; wnids of other versions differ")
    synset = reader.synset_from_pos_and_offset("n", int(wnid[1:]))
    return [f"n{above.offset():08d}" for above in synset.hypernyms() + synset.instance_hypernyms()]


def _line(lines: Any, wnid: str) -> list[str]:
    """The words of a synset's line, or nothing where none begins."""
    lines.seek(int(wnid[1:]))
    words: list[str] = lines.readline().split()
    return words if words[:1] == [wnid[1:]] else []
