"""What was asked of `neurons run`, and the words that ask for it again."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from interp_plugins.cli.typed import Typed


@dataclass(frozen=True, kw_only=True)
class Request(Typed):
    """The options as they were typed; `neurons run --help` says what each means."""

    model: str
    data: str
    out: Path
    adversarial: Path | None = None
    layers: str = "auto"
    representation: str = "auto"
    size: int | None = None
    labels: str | None = None
    split: str | None = None
    limit: int | None = None
    share: float = 0.01
    reduction: str = "max"
    taxonomy: str = "wordnet"
    metric: str = "shortest"
    sigma: float = 2.0
    weighted: bool = False
    sheet: int = 6
    tile: int | None = None
    processes: str = "auto"
    device: str = "auto"
    resume: bool = False
    json: bool = False
    worker: str | None = None

    def to_resume(self) -> str:
        """The command that goes on with the survey."""
        return shlex.join(["interp-plugins", "neurons", "run", *self.words(resume=True, worker=None)])
