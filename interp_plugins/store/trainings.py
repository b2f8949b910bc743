"""A training run on disk: `training.json`, the checkpoints `last` and `best`, and at the end `model.safetensors`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor

from interp_plugins.foundation.files import write_whole
from interp_plugins.store import disk
from interp_plugins.store.checkpoints import CheckpointFolder
from interp_plugins.store.manifest import Positive
from interp_plugins.store.work import Used, WorkFolder, WorkManifest
from interp_plugins.training.reports import EpochReport
from interp_plugins.training.snapshots import Snapshot, Which, unpack


class TrainingManifest(WorkManifest):
    """The content of training.json: all that decides the run; of the network its weights before the first step."""

    schema_version: Literal[1] = 1
    kind: Literal["training"] = "training"
    data: Used
    held_out: Used | None
    shards: dict[Literal["train"], Positive]  # type: ignore[assignment]  # narrower: the epochs


class TrainingFolder(WorkFolder[TrainingManifest]):
    """A training run in its folder."""

    noun, command = "training run", "train run"
    manifest_name, result_name = "training.json", "model.safetensors"
    manifest_type = TrainingManifest
    titles: ClassVar[Mapping[str, str]] = {"train": "training"}

    @classmethod
    def create(cls, folder: Path, manifest: Any) -> "TrainingFolder":
        """Begin one; its checkpoints are its only unfinished work.

        Raises:
            OSError: The folder cannot be written.
        """
        with disk.explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / cls.manifest_name, manifest.model_dump_json(indent=2) + "\n")
        return cls(folder, manifest)

    @property
    def checkpoints(self) -> CheckpointFolder:
        """Where the trainer keeps its state."""
        return CheckpointFolder(self.folder)

    @property
    def epochs(self) -> int:
        """How many are asked for."""
        return self.manifest.shards["train"]

    def reports(self) -> list[EpochReport]:
        """Those of the finished epochs.

        Raises:
            ValueError: The last checkpoint is damaged.
        """
        found = self.checkpoints.read("last")
        return [] if found is None else _reports(found)

    def weights(self, which: Which) -> tuple[dict[str, Tensor], EpochReport]:
        """The judged weights of a checkpoint by name, averaged where an average was kept, and what they were judged to.

        Raises:
            ValueError: There is no such checkpoint, it holds no finished epoch, or it is damaged.
        """
        found = self.checkpoints.read(which)
        if found is None or not (reports := _reports(found)):
            raise ValueError(f"expected a finished epoch in {self.checkpoints.path(which)}, got none")
        parts = [unpack(found.plain[name], found.tensors) for name in ("model", "averages") if name in found.plain]
        return {name: value for part in parts for name, value in part.items()}, reports[-1]

    def write(self, weights: Mapping[str, Tensor]) -> None:
        """Write the network that is kept, by which the run is finished.

        Raises:
            OSError: The folder cannot be written.
        """
        self.write_result(weights, {})


def _reports(found: Snapshot) -> list[EpochReport]:
    return [EpochReport.of(report) for report in unpack(found.plain["reports"], found.tensors)]
