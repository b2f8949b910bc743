"""Models by name: `torchvision:resnet18@FILE`, `timm:resnet10t@FILE?size=96`, `my_nets.py:factory[@FILE]`.

Whatever comes out takes float images in [0, 1] and gives logits: normalisation and input size are inside. Weights are
read as tensors only, never as code. A `.py` file is code, is run, and that is said once on stderr. Nothing is
downloaded unless the caller asks for it.
"""

import difflib
import hashlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from urllib.parse import parse_qsl

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interp_plugins.errors import HostMissing
from interp_plugins.sources import weights

FORM = "KIND:NAME[@FILE][?size=&mean=&std=&classes=] with KIND torchvision or timm, or FILE.py:factory[@FILE]"
FACTORY = re.compile(r"(?P<code>.+?\.py):(?P<name>\w+)(@(?P<file>.+))?")
NAMED = re.compile(r"(?P<kind>\w+):(?P<name>[\w.\-/]+)(@(?P<file>[^?]+))?(\?(?P<settings>.*))?")


@dataclass(frozen=True)
class LoadedModel:
    """A model and where it came from.

    Args:
        module: In eval mode; images (n, 3, h, w) in [0, 1] in, logits (n, k) out.
        name: The architecture's or the factory's name.
        spec: What was asked for, as it was typed.
        sha256: Of the weights file, or of the factory's source file where it has none; None for downloaded weights.
    """

    module: nn.Module
    name: str
    spec: str
    sha256: str | None

    @property
    def network(self) -> nn.Module:
        """What a weights file of this spec holds: all of what a factory returns, else what is behind normalisation."""
        if isinstance(self.module, Preprocessed) and not FACTORY.fullmatch(self.spec):
            return self.module.net
        return self.module


class Preprocessed(nn.Module):
    """A network behind its normalisation and, where it needs one, its input size.

    Args:
        net: Normalised images in, logits out.
        mean: For each channel, in units of [0, 1] images.
        std: For each channel, above 0.
        size: Images of another size are resized to it (bilinear, antialiased): one side of a square or (height, width).

    Example:
        >>> model = Preprocessed(nn.Identity(), mean=(0.5,), std=(0.25,))
        >>> model(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        size: int | tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f"expected one mean and one std above 0 for each channel, got mean {mean} and std {std}")
        self.net, self.size = net, (size, size) if isinstance(size, int) else size
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images in [0, 1]."""
        if self.size and tuple(images.shape[-2:]) != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", align_corners=False, antialias=True)
        logits: Tensor = self.net((images - self.mean) / self.std)
        return logits


def spec_with(spec: str, file: Path | str) -> str:
    """The spec of the same network with the weights in `file`.

    Example:
        >>> spec_with("nets.py:mine", "mine.safetensors")
        'nets.py:mine@mine.safetensors'
    """
    if factory := FACTORY.fullmatch(spec):
        return f"{factory['code']}:{factory['name']}@{file}"
    before, mark, settings = spec.partition("?")
    return f"{before.partition('@')[0]}@{file}{mark}{settings}"


def load(spec: str, device: torch.device | str = "cpu", *, download: bool = False) -> LoadedModel:
    """Load a model by its spec.

    Args:
        spec: KIND:NAME[@FILE][?size=&mean=&std=&classes=] with KIND torchvision or timm, or FILE.py:factory[@FILE]. The
            library's own size and normalisation are used where none is given: `?size=96&mean=0.5,0.5,0.5`. `classes`
            is the number of classes the weights were trained for. The factory takes no arguments and returns a module
            of the same contract; the weights in its @FILE are loaded into that.
        device: Where the model goes.
        download: Fetch the library's own weights where no file is given.

    Raises:
        ValueError: The spec cannot be read, names something unknown, has no weights, or its weights do not fit.
        FileNotFoundError: A file is not there.
        HostMissing: torchvision or timm is not installed.
    """
    if match := FACTORY.fullmatch(spec):
        return _from_factory(spec, Path(match["code"]), match["name"], _weights(match["file"], spec), device)
    match = NAMED.fullmatch(spec)
    if not match:
        raise ValueError(f"expected a model as {FORM}, got {spec!r}")
    kind, name = match["kind"], match["name"]
    if kind not in KINDS:
        raise ValueError(f"unknown kind of model {kind!r}{_nearest(kind, KINDS)}; expected {FORM}")
    settings = _settings(match["settings"] or "", spec)
    if not match["file"] and not download:
        raise ValueError(
            f"{spec!r} names no weights: type {kind}:{name}@FILE with a file of yours, "
            "or allow the download of the library's own (--download, or download=True)"
        )
    file = _weights(match["file"], spec)
    if file is None and "classes" in settings:
        raise ValueError(
            f"{spec!r} asks for another number of classes than the library's own weights have; name a file"
        )
    with torch.random.fork_rng(devices=[]):  # a random start, soon overwritten, is none of the caller's numbers
        net, own = KINDS[kind](name, settings.pop("classes", None), file is None)
    if file is not None:
        weights.fit(net, weights.read(file), file)
    module = Preprocessed(net, **(own | settings)).eval().to(device)
    return LoadedModel(module, name, spec, _sha256(file) if file else None)


def _torchvision(name: str, classes: int | None, download: bool) -> tuple[nn.Module, dict[str, Any]]:
    models = _library("torchvision.models", f"torchvision:{name}")
    _known("torchvision", name, models.list_models(module=models))
    # the published weights of these two expect an input that torchvision converts only when it loads them itself; and
    # without `init_weights` they warn that their random start, which is overwritten here, is slow
    ported = {"transform_input": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if download:
        net = models.get_model(name, weights="DEFAULT")
    else:
        net = models.get_model(name, weights=None, **ported, **({} if classes is None else {"num_classes": classes}))
    preset = models.get_model_weights(name).DEFAULT.transforms()
    return net, {"mean": preset.mean, "std": preset.std, "size": preset.crop_size[0]}


def _timm(name: str, classes: int | None, download: bool) -> tuple[nn.Module, dict[str, Any]]:
    timm = _library("timm", f"timm:{name}")
    _known("timm", name.partition(".")[0], timm.list_models())
    net = timm.create_model(name, pretrained=download, **({} if classes is None else {"num_classes": classes}))
    own = net.pretrained_cfg
    return net, {"mean": own["mean"], "std": own["std"], "size": tuple(own["input_size"][1:])}


KINDS = {"torchvision": _torchvision, "timm": _timm}


def _library(module: str, spec: str) -> ModuleType:
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise HostMissing(f"{package} is needed for {spec!r}: pip install 'interp-plugins[vision]'") from error


def _known(kind: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise ValueError(f"{kind} has no model {name!r}{_nearest(name, names)}")


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _settings(query: str, spec: str) -> dict[str, Any]:
    readers = {"size": _integer, "classes": _integer, "mean": _numbers, "std": _numbers}
    settings = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in readers:
            raise ValueError(
                f"unknown setting {key!r} in {spec!r}{_nearest(key, readers)}; there are {', '.join(readers)}"
            )
        try:
            settings[key] = readers[key](value)
        except ValueError as error:
            raise ValueError(f"expected {key}={_EXAMPLES[key]} in {spec!r}, got {key}={value}") from error
    return settings


_EXAMPLES = {"size": "224", "classes": "10", "mean": "0.485,0.456,0.406", "std": "0.229,0.224,0.225"}


def _integer(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError
    return number


def _numbers(text: str) -> tuple[float, ...]:
    numbers = tuple(float(part) for part in text.split(","))
    if len(numbers) != 3:
        raise ValueError
    return numbers


def _weights(name: str | None, spec: str) -> Path | None:
    """The weights file of a spec, which has to be there."""
    if not name:
        return None
    if not (file := Path(name)).is_file():
        raise FileNotFoundError(f"no weights file {file} (from {spec!r})")
    return file


def _from_factory(spec: str, code: Path, name: str, file: Path | None, device: torch.device | str) -> LoadedModel:
    if not code.is_file():
        raise FileNotFoundError(f"no model file {code} (from {spec!r})")
    factories = vars(_run(code.resolve(), _sha256(code)))
    factory = factories.get(name)
    if not callable(factory):
        raise ValueError(f"{code} defines no factory {name!r}{_nearest(name, [n for n in factories if n[0] != '_'])}")
    module = factory()
    if not isinstance(module, nn.Module):
        raise TypeError(f"expected {spec!r} to return a torch.nn.Module, got {type(module).__name__}")
    if file is not None:
        weights.fit(module, weights.read(file), file)
    return LoadedModel(module.eval().to(device), name, spec, _sha256(file or code))


@cache
def _run(file: Path, sha256: str) -> ModuleType:
    """Run a model file, once for each content, and say so."""
    sys.stderr.write(f"running the code in {file} (sha256 {sha256[:12]})\n")
    name = f"interp_plugins_model_file_{sha256}"
    loader = _AsItIs(name, str(file))
    description = importlib.util.spec_from_loader(name, loader)
    module = importlib.util.module_from_spec(description)  # type: ignore[arg-type]  # this loader has no reason for None
    sys.modules[name] = module  # dataclasses and pickling look their module up by name
    loader.exec_module(module)
    return module


class _AsItIs(SourceFileLoader):
    """Compiles what the file holds now; a kept .pyc is told from a newer file by second and size alone."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
