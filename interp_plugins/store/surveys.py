"""What was measured of a network's neurons, on disk: `survey.json`, what is finished of the work, and the result.

The images are cut into shards, fixed lists of images. Each process adds what it sees to sums of its own and writes
them, with the numbers of the shards they hold, to a file of its own in `state/`; a file is replaced as a whole. So a
kill loses no shard that is in a file, and whoever goes on, with any number of processes, does the others. At the end
all files are merged, which for top images is exact and for sums is so to their last bits.
"""

import json
import warnings
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, Literal, NamedTuple

import safetensors.torch
import torch
from pydantic import JsonValue
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torchmetrics import Metric

from interp_plugins.foundation.files import write_whole
from interp_plugins.neurons.exemplars import Exemplars
from interp_plugins.store import disk
from interp_plugins.store.manifest import Frozen, Member, Positive, Sha256

MANIFEST = "survey.json"
RESULT = "neurons.safetensors"
STATE = "state"
PATIENCE = 20  # a file is written when this many times the last writing's time have passed, so that it costs 5 %
FIELDS = ("values", "ids", "dead")
Phase = Literal["real", "attacked"]


class Used(Frozen):
    """Images that were looked at."""

    spec: str  # where they lay
    count: Positive
    sha256: Sha256  # of all there is to know of them
    size: Positive | None = None
    labels: str | None = None
    split: str | None = None


class SurveyManifest(Frozen):
    """The content of survey.json: all that decides the result."""

    schema_version: Literal[1] = 1
    kind: Literal["neuron survey"] = "neuron survey"
    model: Member
    real: Used
    attacked: Used | None  # an adversarial set, by its digest
    classes: tuple[str, ...]  # their names
    layers: tuple[str, ...]  # the last of them is the representation
    settings: dict[str, JsonValue]
    shards: dict[Phase, Positive]
    versions: dict[str, str]

    def differences(self, other: "SurveyManifest") -> list[str]:
        """Whatever would make another survey of this one, a sentence each."""
        mine, theirs = (_flat(json.loads(each.model_dump_json(exclude={"versions"}))) for each in (self, other))
        return [
            f"{name}: {_short(mine.get(name))} there, {_short(theirs.get(name))} asked for"
            for name in dict.fromkeys([*mine, *theirs])
            if mine.get(name) != theirs.get(name)
        ]


class SurveyFolder:
    """A survey in its folder."""

    def __init__(self, folder: Path, manifest: SurveyManifest) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def create(cls, folder: Path, manifest: SurveyManifest) -> "SurveyFolder":
        """Begin one.

        Raises:
            OSError: The folder cannot be written.
        """
        with disk.explained(folder):
            (folder / STATE).mkdir(parents=True, exist_ok=True)
            write_whole(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
        return cls(folder, manifest)

    @classmethod
    def open(cls, folder: Path) -> "SurveyFolder":
        """The one that is there.

        Raises:
            FileNotFoundError: There is none.
            ValueError: survey.json is not one.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(f"no survey at {folder}; make one with interp-plugins neurons run")
        disk.require_plain(path)
        try:
            manifest = SurveyManifest.model_validate_json(path.read_bytes(), strict=True)
        except ValueError as error:
            raise ValueError(f"expected a survey, version 1, at {path}: {error}") from error
        return cls(folder, manifest)

    @property
    def finished(self) -> bool:
        """Whether the result is there."""
        return (self.folder / RESULT).is_file()

    def done(self, phase: Phase) -> set[int]:
        """The shards that are in a file."""
        return {number for path in self._states(phase) for number in _header(path).done}

    def missing(self, phase: Phase) -> list[int]:
        """The shards that are in none."""
        done = self.done(phase)
        return [number for number in range(self.manifest.shards[phase]) if number not in done]

    def computed(self, phase: Phase, metrics: Mapping[str, Metric]) -> dict[str, Any]:
        """What metrics that have seen nothing say once all that the files hold is added to them."""
        for path in self._states(phase):
            held = safetensors.torch.load_file(path)
            for name, metric in metrics.items():
                states: dict[str, Any] = {}
                for state, value in metric.metric_state.items():
                    tensor = held.get(f"{name}/{state}")
                    states[state] = tensor if isinstance(value, Tensor) else [] if tensor is None else [tensor]
                metric.merge_state(states)
        with warnings.catch_warnings():  # torchmetrics does not count a merge as having seen something
            warnings.filterwarnings("ignore", "The ``compute`` method of metric", UserWarning)
            return {name: metric.compute() for name, metric in metrics.items()}

    def write(self, exemplars: Mapping[str, Mapping[str, Exemplars]], measures: Mapping[str, Tensor]) -> None:
        """Write the result.

        Args:
            exemplars: For "real" and "attacked" those of each layer.
            measures: More tensors by name.
        """
        tensors = {name: value.contiguous() for name, value in measures.items()}
        images = {}
        for which, layers in exemplars.items():
            for layer, found in layers.items():
                images[which] = str(found.images)
                tensors |= {f"{which}/{layer}/{field}": getattr(found, field).contiguous() for field in FIELDS}
        with disk.explained(self.folder):
            write_whole(self.folder / RESULT, safetensors.torch.save(tensors, metadata=images))

    def exemplars(self, which: Phase, layer: str) -> Exemplars:
        """The top images of a layer's units.

        Raises:
            ValueError: The survey is not finished, the layer is not in it, or the file is damaged.
        """
        found = self.tensors(f"{which}/{layer}/{field}" for field in FIELDS)
        values, ids, dead = found.values()
        if ids.shape != values.shape or dead.shape != values.shape[:1] or dead.dtype != torch.bool:
            raise ValueError(f"expected the top images of {layer!r} in {self.folder / RESULT}, got something else")
        with safe_open(self.folder / RESULT, "pt") as file:
            return Exemplars(layer, values, ids, int(file.metadata()[which]), dead)

    def tensors(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Tensors of the result.

        Raises:
            ValueError: The survey is not finished, has no such tensor, or the file is damaged.
        """
        if not self.finished:
            raise ValueError(f"{self.folder} is not finished; type the command that began it again, with --resume")
        path = self.folder / RESULT
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

    def _states(self, phase: Phase) -> list[Path]:
        return sorted((self.folder / STATE).glob(f"{phase}-*.safetensors"))


class Progress:
    """What one process has seen of a phase, brought to the disk now and then.

    Args:
        folder: The survey.
        phase: Which.
        rank: Of this process, among those that work now.
        metrics: What sums up.
    """

    def __init__(self, folder: SurveyFolder, phase: Phase, rank: int, metrics: Mapping[str, Metric]) -> None:
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
