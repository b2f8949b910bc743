"""The benchmarks by one command.

python -m benchmarks                     those that need no data, with their defaults
python -m benchmarks attack --images 2   one of them, with its own options
"""

import sys
from collections.abc import Callable
from typing import Any

from benchmarks import (
    attack,
    attack_memory,
    dissection,
    exemplars,
    influence,
    remedies,
    startup,
    store,
    survey,
    taxonomy,
    training,
)

BENCHMARKS: dict[str, Callable[[list[str]], Any]] = {
    "startup": startup.main,
    "memory": attack_memory.main,
    "attack": attack.main,
    "taxonomy": taxonomy.main,
    "exemplars": exemplars.main,
    "influence": influence.main,
    "survey": survey.main,
    "dissection": dissection.main,
    "store": store.main,
    "training": training.main,
    "remedies": remedies.main,
}
NEED_DATA = ("remedies",)


def main(words: list[str]) -> None:
    """Run the benchmark that the first word names, or all that need no data."""
    if words and words[0] in BENCHMARKS:
        BENCHMARKS[words[0]](words[1:])
    elif words:
        print(__doc__)
        print(f"There are {', '.join(BENCHMARKS)}.")
        raise SystemExit(0 if words[0] in ("-h", "--help") else 2)
    else:
        for name, benchmark in BENCHMARKS.items():
            if name not in NEED_DATA:
                print(f"\n## {name}\n")
                benchmark([])


if __name__ == "__main__":
    main(sys.argv[1:])
