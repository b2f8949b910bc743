"""What `doctor` asks of the machine: Python, torch and its build, the GPU, torchvision, WordNet and the disk."""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from interp_plugins.hosts import pip_line

Status = Literal["fine", "note", "warning", "failure"]

SECONDS: Final = 120  # that an import may take; hosts need up to 20 s on a busy machine
OLDEST_TORCH: Final = (2, 11)
LITTLE_DISK: Final = 2.0  # GiB; below this a set of a few thousand images may not fit

TORCH_FACTS: Final = """
import json, torch
devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
facts = {"version": torch.__version__, "cuda": torch.version.cuda, "rocm": torch.version.hip, "devices": devices}
print(json.dumps(facts))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        subject: what was looked at.
        status: "fine"; "note" (nothing to repair, but good to know); "warning"; or "failure".
        message: what was found.
        fix: what to type or do; never empty unless the status is "fine".
    """

    subject: str
    status: Status
    message: str
    fix: str = ""


@dataclass(frozen=True)
class Probe:
    """What a fresh process said: its output when it ended well, and otherwise the last line of its complaint."""

    output: str = ""
    complaint: str = ""


def probe(program: str, seconds: float = SECONDS) -> Probe:
    """Run a program in a fresh Python, warnings silenced, and never wait longer than the limit."""
    command = [sys.executable, "-P", "-W", "ignore", "-c", program]  # -P: a file of the user's here shadows nothing
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return Probe(complaint=f"no answer within {seconds:g} seconds")
    if done.returncode:
        return Probe(complaint=(done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1])
    return Probe(output=done.stdout)


def python() -> Finding:
    """Say which Python this is; that it is new enough, the installation has seen to."""
    return Finding("Python", "fine", f"{platform.python_version()} in {sys.prefix}")


def torch(found: Probe) -> Iterator[Finding]:
    """Judge torch's version, and whether a GPU that is there can be used by this build."""
    oldest = ".".join(map(str, OLDEST_TORCH))
    upgrade = pip_line(f'install --upgrade "torch>={oldest}"')
    if found.complaint:
        yield Finding("torch", "failure", f"cannot be imported: {found.complaint}", upgrade)
        return
    facts = json.loads(found.output.splitlines()[-1])
    build = f"CUDA {facts['cuda']}" if facts["cuda"] else f"ROCm {facts['rocm']}" if facts["rocm"] else "the CPU"
    message = f"{facts['version']}, built for {build}"
    if tuple(int(part) for part in facts["version"].split(".")[:2]) < OLDEST_TORCH:
        yield Finding(
            "torch", "failure", f"{message}; {oldest} is needed, older ones can run code from a weights file", upgrade
        )
    else:
        yield Finding("torch", "fine", message)
    if facts["devices"]:
        yield Finding("GPU", "fine", ", ".join(facts["devices"]))
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "GPU",
            "warning",
            "there is an NVIDIA driver, but this torch sees no GPU",
            "install the build for your driver as https://pytorch.org/get-started says",
        )
    else:
        yield Finding("GPU", "note", "none is visible", "nothing to repair: everything runs on the CPU, more slowly")


def torchvision(found: Probe | None) -> Finding:
    """Find the pair of torch and torchvision that were built for different devices; torchmetrics breaks with it."""
    if found is None:
        return Finding(
            "torchvision",
            "note",
            "not installed; only models of the kind torchvision:NAME need it",
            pip_line('install "interp-plugins[vision]"'),
        )
    if "operator torchvision::nms does not exist" in found.complaint:
        return Finding(
            "torchvision",
            "failure",
            "does not match torch (operator torchvision::nms does not exist)",
            f"install both from one index: {pip_line('install --force-reinstall torch torchvision')} "
            "(for CPU builds with --index-url https://download.pytorch.org/whl/cpu)",
        )
    if found.complaint:
        return Finding(
            "torchvision",
            "failure",
            f"cannot be imported: {found.complaint}",
            pip_line("install --force-reinstall torchvision"),
        )
    return Finding("torchvision", "fine", f"{installed_version('torchvision') or 'of unknown version'}, imports")


def wordnet(environment: Mapping[str, str]) -> Finding:
    """Look for nltk and its copy of WordNet without importing nltk, which takes seconds."""
    if find_spec("nltk") is None:
        return Finding(
            "WordNet",
            "note",
            "ImageNet-1k, CIFAR-10 and the drawn scenes are packaged; other synsets need nltk, which is not installed",
            pip_line('install "interp-plugins[wordnet]"'),
        )
    places = [Path(place) for place in environment.get("NLTK_DATA", "").split(os.pathsep) if place]
    places += [
        Path.home() / "nltk_data",
        Path(sys.prefix) / "nltk_data",
        Path(sys.prefix) / "share" / "nltk_data",
        Path(sys.prefix) / "lib" / "nltk_data",
    ]
    places += [Path(root) / "nltk_data" for root in ("/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib")]
    for place in places:
        for corpus in ("wordnet", "wordnet.zip"):
            if (place / "corpora" / corpus).exists():
                return Finding("WordNet", "fine", f"{place / 'corpora' / corpus}")
    return Finding(
        "WordNet",
        "note",
        "ImageNet-1k, CIFAR-10 and the drawn scenes are packaged; for other synsets nltk has no copy of WordNet",
        "python -m nltk.downloader wordnet, or set NLTK_DATA to a folder that holds corpora/wordnet",
    )


def disk(folder: Path) -> Finding:
    """Say how much room is left where the results go unless told otherwise."""
    free = shutil.disk_usage(folder).free / 2**30
    if free < LITTLE_DISK:
        return Finding("disk", "warning", f"{free:.1f} GiB free in {folder}", "make room, or write elsewhere")
    return Finding("disk", "fine", f"{free:.0f} GiB free in {folder}")


def installed_version(distribution: str) -> str | None:
    """Return the version of a distribution, or None when it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
