"""Weights from files, as tensors and never as code."""

import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of what `torch.save` wrote, by name; nothing in the file is run.

    `{"state_dict": ...}` is unwrapped and a "module." before every name, which DataParallel leaves, is dropped.

    Raises:
        ValueError: The file is no weights file, or holds more than tensors and plain values.
    """
    try:
        if file.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, safetensors.SafetensorError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{file} cannot be read as weights alone: expected .safetensors, or torch.save(model.state_dict(), FILE); "
            f"other pickles may run code and are refused ({type(error).__name__})"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{file} holds no weights: expected names and tensors, got {type(state).__name__}")
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    if broken := [key for key, value in state.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise ValueError(f"{file} holds weights that are NaN or infinite, first in {broken[0]!r}")
    return dict(state)


def fit(net: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    """Load weights into a network, all of them or none.

    Raises:
        ValueError: Weights are missing, unexpected or of another shape; the first of each are named.
    """
    own = net.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    complaints = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    said = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' * (len(keys) > 3)})" for what, keys in complaints if keys
    ]
    if said:
        raise ValueError(
            f"the weights in {file} do not fit {type(net).__name__}: {'; '.join(said)}; "
            "another architecture, or ?classes= for another number of classes"
        )
    net.load_state_dict(state, strict=False)


def digest(module: nn.Module) -> str:
    """The sha256 of a network's weights as they are in memory, whatever file or code they came from.

    Names, dtypes, shapes and bytes of all parameters and buffers enter, also of buffers that are saved in no file, such
    as a normalisation. Device, memory format, mode and `requires_grad` do not.

    Example:
        >>> digest(nn.Flatten())[:8]  # no weights: the sha256 of nothing
        'e3b0c442'
    """
    found = hashlib.sha256()
    for name, tensor in sorted([*module.named_parameters(), *module.named_buffers()]):
        plain = tensor.detach().cpu().contiguous()
        found.update(json.dumps([name, str(plain.dtype), list(plain.shape)]).encode())
        found.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
