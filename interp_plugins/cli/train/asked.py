"""What was asked of `train evaluate`: the options as they were typed, and what they come to."""

from dataclasses import dataclass, field
from pathlib import Path

from interp_plugins.cli.train.attacks import FOREIGN, STEPPED, Spec
from interp_plugins.foundation import check
from interp_plugins.sources import images
from interp_plugins.sources.images import ImageSet

KINDS = ("clean", "fgsm", *STEPPED, *FOREIGN)
VERSIONS = ("standard", "plus", "rand")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The options as they were typed; `train evaluate --help` says what each means."""

    data: str
    attack: str
    model: list[str] = field(default_factory=list)
    run: list[Path] = field(default_factory=list)
    top: str = "1"
    size: int | None = None
    limit: int | None = None
    autoattack: str = "standard"
    seed: int = 0
    device: str = "auto"
    out: Path | None = None
    json: bool = False

    def check(self) -> tuple[dict[str, Spec], list[int]]:
        """Refuse what cannot be, before anything is loaded.

        Returns:
            The attacks as they were typed, and how many answers count.

        Raises:
            ValueError: A setting is none, or nothing is to be judged.
        """
        if not self.model and not self.run:
            raise ValueError("expected a network, as --model or as --run, got none")
        check.one_of("--autoattack", self.autoattack, VERSIONS)
        names, tops = ([word.strip() for word in text.split(",")] for text in (self.attack, self.top))
        if not all(word.isdecimal() and int(word) for word in tops):
            raise ValueError(f"expected --top as numbers above 0 with commas between, such as 1,5, got {self.top!r}")
        return {name: Spec.read(name, KINDS) for name in names}, sorted({int(word) for word in tops})


@dataclass(frozen=True)
class Asked:
    """What every network is asked.

    Args:
        given: The request.
        specs: Its attacks, as they were typed.
        tops: How many answers count.
        images: To look at.
        count: How many of them, from the first on.
    """

    given: Judgement
    specs: dict[str, Spec]
    tops: list[int]
    images: ImageSet
    count: int

    @classmethod
    def load(cls, given: Judgement) -> "Asked":
        """Read the request, and find the images.

        Raises:
            ValueError: A setting or the images are not as expected.
            FileNotFoundError: There are no images.
        """
        specs, tops = given.check()
        found = images.load(given.data, given.size)
        count = len(found) if given.limit is None else given.limit
        if count > len(found):
            raise ValueError(f"expected --limit of at most {len(found)}, the images in {given.data}, got {count}")
        return cls(given, specs, tops, found, count)

    @property
    def foreign(self) -> bool:
        """Whether AutoAttack is asked for."""
        return any(spec.kind in FOREIGN for spec in self.specs.values())

    @property
    def said(self) -> dict[str, str]:
        """The attacks in words."""
        return {typed: str(spec) for typed, spec in self.specs.items()}
