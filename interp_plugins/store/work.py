"""Long work over images, on disk: what decides the result, what is finished of the work, and the result.

The images are cut into shards, fixed lists of images, and gone over in one or more phases. Each process adds what it
sees to sums of its own and writes them, with the numbers of the shards they hold, to a file of its own in `state/`; a
file is replaced as a whole. So a kill loses no shard that is in a file, and whoever goes on, with any number of
processes, does the others. At the end all files are merged, which for top images and counts is exact and for sums is so
to their last bits.
"""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import safetensors.torch
import torch
from pydantic import JsonValue
from safetensors import SafetensorError, safe_open
from torch import Tensor

from interp_plugins.foundation.files import write_whole
from interp_plugins.store import disk
from interp_plugins.store.manifest import Frozen, Member, Positive, Sha256

STATE = "state"
PATIENCE = 20  # a file is written when this many times the last writing's time have passed, so that it costs 5 %


@runtime_checkable
class Sums(Protocol):
    """What is asked of torchmetrics' metrics here; to import those takes seconds, and not all work sums up."""

    @property
    def metric_state(self) -> Mapping[str, Tensor | list[Tensor]]:
        """What it holds, by name."""

    def to(self, device: torch.device) -> object:
        """Hold it there."""

    def merge_state(self, incoming_state: dict[str, Any]) -> None:
        """Add what another holds."""

    def compute(self) -> Any:
        """What comes of it."""


class Used(Frozen):
    """Images that were looked at."""

    spec: str  # where they lay
    count: Positive
    sha256: Sha256  # of all there is to know of them
    size: Positive | None = None
    labels: str | None = None
    split: str | None = None


class WorkManifest(Frozen):
    """All that decides the result, as it is written before the work begins."""

    model: Member
    layers: tuple[str, ...]
    settings: dict[str, JsonValue]
    shards: dict[str, Positive]  # of each phase, in the order of the phases
    versions: dict[str, str]

    def differences(self, other: "WorkManifest") -> list[str]:
        """Whatever would make another result than this one, a sentence each."""
        mine, theirs = (_flat(json.loads(each.model_dump_json(exclude={"versions"}))) for each in (self, other))
        return [
            f"{name}: {_short(mine.get(name))} there, {_short(theirs.get(name))} asked for"
            for name in dict.fromkeys([*mine, *theirs])
            if mine.get(name) != theirs.get(name)
        ]


M = TypeVar("M", bound=WorkManifest)
F = TypeVar("F", bound="WorkFolder[Any]")  # beartype knows no Self in methods


class WorkFolder(Generic[M]):
    """Work in its folder; a kind of work says in its subclass what it is called and what its files are called."""

    noun: ClassVar[str]  # such as "survey"
    command: ClassVar[str]  # that makes one
    manifest_name: ClassVar[str]
    result_name: ClassVar[str]
    manifest_type: ClassVar[type[WorkManifest]]
    titles: ClassVar[Mapping[str, str]]  # what a phase goes over, for people

    def __init__(self, folder: Path, manifest: M) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def create(cls: type[F], folder: Path, manifest: Any) -> F:
        """Begin one.

        Raises:
            OSError: The folder cannot be written.
        """
        with disk.explained(folder):
            (folder / STATE).mkdir(parents=True, exist_ok=True)
            write_whole(folder / cls.manifest_name, manifest.model_dump_json(indent=2) + "\n")
        return cls(folder, manifest)

    @classmethod
    def open(cls: type[F], folder: Path) -> F:
        """The one that is there.

        Raises:
            FileNotFoundError: There is none.
            ValueError: Its manifest is not one.
        """
        path = folder / cls.manifest_name
        if not path.is_file():
            raise FileNotFoundError(f"no {cls.noun} at {folder}; make one with interp-plugins {cls.command}")
        disk.require_plain(path)
        try:
            manifest = cls.manifest_type.model_validate_json(path.read_bytes(), strict=True)
        except ValueError as error:
            raise ValueError(f"expected a {cls.noun}, version 1, at {path}: {error}") from error
        return cls(folder, manifest)

    @property
    def finished(self) -> bool:
        """Whether the result is there."""
        return (self.folder / self.result_name).is_file()

    def done(self, phase: str) -> set[int]:
        """The shards that are in a file."""
        return {number for path in self._states(phase) for number in _header(path).done}

    def missing(self, phase: str) -> list[int]:
        """The shards that are in none."""
        done = self.done(phase)
        return [number for number in range(self.manifest.shards[phase]) if number not in done]

    def parts(self, phase: str, name: str) -> Iterator[dict[str, Tensor]]:
        """The states of one metric, as each file holds them."""
        for path in self._states(phase):
            with safe_open(path, "pt") as file:
                here = [key for key in file.keys() if key.startswith(f"{name}/")]  # noqa: SIM118
                yield {key.removeprefix(f"{name}/"): file.get_tensor(key) for key in here}

    def merged(self, phase: str, metrics: Mapping[str, Sums]) -> None:
        """Add all that the files hold to metrics."""
        for name, metric in metrics.items():
            for held in self.parts(phase, name):
                states: dict[str, Any] = {}
                for state, value in metric.metric_state.items():
                    tensor = held.get(state)
                    states[state] = tensor if isinstance(value, Tensor) else [] if tensor is None else [tensor]
                metric.merge_state(states)

    def computed(self, phase: str, metrics: Mapping[str, Sums]) -> dict[str, Any]:
        """What metrics that have seen nothing say once all that the files hold is added to them."""
        self.merged(phase, metrics)
        with warnings.catch_warnings():  # torchmetrics does not count a merge as having seen something
            warnings.filterwarnings("ignore", "The ``compute`` method of metric", UserWarning)
            return {name: metric.compute() for name, metric in metrics.items()}

    def write_result(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Write the result, by which the work is finished.

        Raises:
            OSError: The folder cannot be written.
        """
        whole = {name: value.contiguous() for name, value in tensors.items()}
        with disk.explained(self.folder):
            write_whole(self.folder / self.result_name, safetensors.torch.save(whole, metadata=dict(metadata)))

    def metadata(self) -> dict[str, str]:
        """What stands beside the tensors of the result."""
        with safe_open(self.folder / self.result_name, "pt") as file:
            return dict(file.metadata() or {})

    def tensors(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Tensors of the result.

        Raises:
            ValueError: The work is not finished, there is no such tensor, or the file is damaged.
        """
        if not self.finished:
            raise ValueError(f"{self.folder} is not finished; type the command that began it again, with --resume")
        path = self.folder / self.result_name
        disk.require_plain(path)
        try:
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in names}
        except SafetensorError as error:
            layers = ", ".join(self.manifest.layers)
            raise ValueError(f"{path}: {error}; layers that were measured: {layers}") from error

    def clear(self) -> None:
        """Put away what only unfinished work needs."""
        for path in (self.folder / STATE).glob("*.safetensors*"):  # also what a killed process was writing
            path.unlink()

    def _states(self, phase: str) -> list[Path]:
        return sorted((self.folder / STATE).glob(f"{phase}-*.safetensors"))


class Progress:
    """What one process has seen of a phase, brought to the disk now and then.

    Args:
        folder: The work's.
        phase: Which.
        rank: Of this process, among those that work now.
        metrics: What sums up.
    """

    def __init__(self, folder: WorkFolder[Any], phase: str, rank: int, metrics: Mapping[str, Sums]) -> None:
        names = (folder.folder / STATE / f"{phase}-{number}-{rank}.safetensors" for number in count())
        self._path = next(name for name in names if not name.exists())
        self._folder, self._metrics, self._done = folder.folder, metrics, list[int]()
        self._written, self._cost = monotonic(), 0.0

    def add(self, shard: int, last: bool) -> None:
        """Note that the metrics have seen a shard, and write them if it is time or the last."""
        self._done.append(shard)
        begun = monotonic()
        if not last and begun - self._written < PATIENCE * self._cost:
            return
        tensors: dict[str, Tensor] = {}
        for name, metric in self._metrics.items():
            for state, value in metric.metric_state.items():
                if len(parts := [value] if isinstance(value, Tensor) else value):
                    tensors[f"{name}/{state}"] = parts[0].contiguous() if len(parts) == 1 else torch.cat(list(parts))
        with disk.explained(self._folder):
            write_whole(self._path, safetensors.torch.save(tensors, metadata={"done": json.dumps(self._done)}))
        self._written = monotonic()
        self._cost = self._written - begun


class _Header(NamedTuple):
    done: list[int]


def _header(path: Path) -> _Header:
    disk.require_plain(path)
    try:
        with safe_open(path, "pt") as file:
            return _Header([int(number) for number in json.loads(file.metadata()["done"])])
    except (SafetensorError, ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it, its part of the work is done again") from error


def _flat(content: dict[str, Any]) -> dict[str, Any]:
    """Settings by their own names, and what is known of the images and the model by theirs."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        above = "" if name == "settings" else f"{name} "
        found |= {above + key: each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return found


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."
