"""A run's state as tensors and plain values, so that it can be kept without pickle.

`pack` takes what optimisers, schedulers and random generators say of themselves, a tree of dictionaries, lists, tuples,
numbers, text and tensors, and gives a tree that JSON keeps, with the tensors beside it; `unpack` gives the tree back.
JSON knows neither tuples nor keys that are numbers, so both are spelled out:

    {1: (2.0, tensor)}   ->   {"items": [[1, {"tuple": [2.0, {"tensor": "optimizer/1/1"}]}]]}
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, distributed

from interp_plugins.training.batches import gathered
from interp_plugins.training.evaluation import several

Which = Literal["last", "best"]


@dataclass(frozen=True)
class Snapshot:
    """What a run needs to go on: tensors on the CPU by name, and a tree of plain values."""

    tensors: Mapping[str, Tensor]
    plain: Mapping[str, Any]


@runtime_checkable
class Checkpoints(Protocol):
    """Where snapshots are kept, such as `store.checkpoints.CheckpointFolder`."""

    def write(self, which: Which, snapshot: Snapshot) -> None:
        """Keep a snapshot in place of the one before it."""

    def read(self, which: Which) -> Snapshot | None:
        """The snapshot, or None if there is none."""


def pack(tree: object, tensors: dict[str, Tensor], name: str) -> Any:
    """A tree as JSON keeps it.

    Args:
        tree: Of dictionaries, lists, tuples, numbers, text, None and tensors.
        tensors: Takes copies of the tensors.
        name: What the tensors' names begin with.

    Raises:
        TypeError: Something else is in the tree.
    """
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if isinstance(tree, Tensor):
        tensors[name] = tree.detach().to("cpu", copy=True).contiguous()
        return {"tensor": name}
    if isinstance(tree, Mapping):
        return {"items": [[pack(k, tensors, name), pack(v, tensors, f"{name}/{k}")] for k, v in tree.items()]}
    if isinstance(tree, list | tuple):
        packed = [pack(each, tensors, f"{name}/{place}") for place, each in enumerate(tree)]
        return packed if isinstance(tree, list) else {"tuple": packed}
    raise TypeError(
        f"expected numbers, text, lists, dictionaries and tensors in the state of {name}, got {type(tree).__name__}; "
        "such a state cannot be kept without pickle"
    )


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The tree that `pack` was given.

    Raises:
        ValueError: It is no packed tree, or a tensor is missing.
    """
    match packed:
        case {"tensor": name} if name in tensors:
            return tensors[name]
        case {"items": [*items]}:
            return {unpack(key, tensors): unpack(value, tensors) for key, value in items}
        case {"tuple": [*items]}:
            return tuple(unpack(each, tensors) for each in items)
        case [*items]:
            return [unpack(each, tensors) for each in items]
        case None | bool() | int() | float() | str():
            return packed
    raise ValueError(f"expected the state of a run, got {str(packed)[:80]}")


def chance(generators: Sequence[torch.Generator] = ()) -> dict[str, Any]:
    """The state of all of this process's randomness: torch's, Python's, numpy's, and that of a loader's generators."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), *map(float, rest)),
        "generators": [generator.get_state() for generator in generators],
    }


def restore_chance(state: Mapping[str, Any], generators: Sequence[torch.Generator] = ()) -> None:
    """Bring randomness back to where `chance` found it."""
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    random.setstate(state["python"])
    name, keys, place, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), int(place), int(has_gauss), gauss))
    for generator, known in zip(generators, state["generators"], strict=True):
        generator.set_state(known)


def everyones(state: Mapping[str, Any]) -> list[Any]:
    """The states of all processes, in the order of ranks; every process has to call it."""
    if not several():
        return [state]
    tensors: dict[str, Tensor] = {}
    packed = json.dumps(pack(state, tensors, "state"))
    tensors["packed"] = torch.frombuffer(bytearray(packed.encode()), dtype=torch.uint8)
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    data = torch.frombuffer(bytearray(safetensors.torch.save(tensors)), dtype=torch.uint8).to(device)
    sizes = gathered(torch.tensor([len(data)], device=device)).tolist()
    return [_read(part.cpu().numpy().tobytes()) for part in gathered(data).split(sizes)]


def _read(content: bytes) -> Any:
    tensors = safetensors.torch.load(content)
    return unpack(json.loads(tensors["packed"].numpy().tobytes()), tensors)
