"""What was asked of `dissect run`, and the words that ask for it again."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from interp_plugins.cli.typed import Typed
from interp_plugins.dissection.dissection import POLICIES, NetworkDissection
from interp_plugins.dissection.overlap import UNIONS
from interp_plugins.dissection.ranks import Rule
from interp_plugins.foundation import check


@dataclass(frozen=True, kw_only=True)
class Request(Typed):
    """The options as they were typed; `dissect run --help` says what each means."""

    model: str
    data: str
    out: Path
    layers: str = "auto"
    attack: str | None = None
    threshold: str = "recompute"
    union: str = "category"
    quantile: str = "exact"
    categories: str | None = None
    share: float = 0.005
    detector: float = 0.04
    permutations: int = 20
    draws: int = 500
    seed: int = 0
    size: int | None = None
    limit: int | None = None
    sheet: int = 6
    tile: int | None = None
    processes: str = "auto"
    device: str = "auto"
    resume: bool = False
    json: bool = False
    worker: str | None = None

    def to_resume(self) -> str:
        """The command that goes on with the dissection."""
        return shlex.join(["interp-plugins", "dissect", "run", *self.words(resume=True, worker=None)])

    def method(self) -> NetworkDissection:
        """The dissection.

        Raises:
            ValueError: A setting is out of range.
        """
        for name, options in (("threshold", POLICIES), ("union", UNIONS), ("quantile", get_args(Rule))):
            check.one_of(f"--{name}", getattr(self, name), options)
        if not 0 <= self.detector < 1:
            raise ValueError(f"expected --detector from 0 to below 1, got {self.detector}")
        return NetworkDissection(
            share=self.share,
            quantile=self.quantile,  # type: ignore[arg-type]  # these three are checked above
            union=self.union,  # type: ignore[arg-type]
            threshold=self.threshold,  # type: ignore[arg-type]
            detector=self.detector,
            permutations=self.permutations,
            draws=self.draws,
            seed=self.seed,
            tile=self.tile,
        )
