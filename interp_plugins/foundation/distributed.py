"""Which process of how many this is, by torchrun's contract: the variables RANK, WORLD_SIZE and LOCAL_RANK.

Whoever starts the processes sets them: torchrun, a cluster's own launcher, or a person with two terminals. Work that is
cut into numbered pieces needs nothing more; process r of W takes the pieces r, r + W, r + 2 W and on.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """A process among `world` processes.

    Example:
        >>> list(Place(rank=1, world=3).share(8))
        [1, 4, 7]
    """

    rank: int = 0  # from 0
    world: int = 1  # processes on all machines together
    local: int = 0  # from 0 on each machine; says which GPU is whose

    def __post_init__(self) -> None:
        if self.world < 1 or not 0 <= self.rank < self.world or self.local < 0:
            raise ValueError(
                f"expected RANK from 0 to WORLD_SIZE - 1 and LOCAL_RANK of at least 0, "
                f"got RANK={self.rank}, WORLD_SIZE={self.world} and LOCAL_RANK={self.local}"
            )

    @classmethod
    def here(cls, environment: Mapping[str, str] | None = None) -> "Place":
        """The place of this process; alone where neither RANK nor WORLD_SIZE is set.

        Args:
            environment: The variables; this process's own by default.

        Raises:
            ValueError: Half of the contract is set, or a variable is no number or out of range.
        """
        variables = os.environ if environment is None else environment
        given = [name for name in ("RANK", "WORLD_SIZE") if name in variables]
        if not given:
            return cls()
        if len(given) == 1:
            (missing,) = {"RANK", "WORLD_SIZE"} - set(given)
            raise ValueError(
                f"expected RANK and WORLD_SIZE to be set together, got {given[0]} alone; set {missing}, or unset both"
            )
        return cls(*(_number(variables, name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))

    def share(self, count: int) -> range:
        """Which of `count` numbered pieces are this process's."""
        return range(self.rank, count, self.world)


def _number(variables: Mapping[str, str], name: str) -> int:
    text = variables.get(name, "0")
    if not text.isdecimal():
        raise ValueError(f"expected {name} to be a number of at least 0, got {text!r}")
    return int(text)
