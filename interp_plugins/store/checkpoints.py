"""Checkpoints of training on disk: `last.safetensors` and `best.safetensors`, each whole or not there at all.

Tensors are tensors; all else is JSON in the file's metadata. Nothing is pickled. A checkpoint takes the place of the
one before it in one step, so that a kill or a full disk leaves the older one.
"""

import json
from pathlib import Path

import safetensors
import safetensors.torch

from interp_plugins.foundation.files import write_whole
from interp_plugins.training.snapshots import Snapshot, Which

KIND = "interp-plugins training checkpoint 1"


class CheckpointFolder:
    """Where a trainer keeps its snapshots.

    Args:
        folder: Made when the first one is written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def __str__(self) -> str:
        return str(self.folder)

    def path(self, which: Which) -> Path:
        """The file of a checkpoint."""
        return self.folder / f"{which}.safetensors"

    def write(self, which: Which, snapshot: Snapshot) -> None:
        """Put a checkpoint in place of the one before it.

        Raises:
            OSError: The folder cannot be written, or the disk is full; the one before it is untouched.
        """
        metadata = {"kind": KIND, "plain": json.dumps(snapshot.plain)}
        content = safetensors.torch.save(dict(snapshot.tensors), metadata)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.path(which), content)

    def read(self, which: Which) -> Snapshot | None:
        """The checkpoint, or None where there is none.

        Raises:
            ValueError: It is damaged, or no checkpoint.
        """
        path = self.path(which)
        if not path.exists():
            return None
        try:
            with safetensors.safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dictionary
            if metadata.get("kind") != KIND:
                raise ValueError(f"its kind is {metadata.get('kind')!r}")
            return Snapshot(tensors, json.loads(metadata["plain"]))
        except (safetensors.SafetensorError, KeyError, ValueError) as error:
            other = {"last": "copy best.safetensors over it, or delete it", "best": "delete it"}[which]
            raise ValueError(
                f"expected a whole checkpoint in {path}, got a damaged one or another file ({error}); {other}"
            ) from error
