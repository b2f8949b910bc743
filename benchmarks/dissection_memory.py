"""Peak memory of a dissection of N images and of 8 N, above the network's, each in a fresh process (Linux)."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import lite, workload
from benchmarks.attack_memory import count_what_is_in_use, forget_peak, resident
from benchmarks.drawn_broden import draw
from interp_plugins.dissection.dissection import NetworkDissection
from interp_plugins.sources.labelled import Broden
from interp_plugins.sources.models import Preprocessed

MORE, FULL = 8, 63_305


@dataclass(frozen=True)
class Job:
    """One figure: so many images of a data set, and the network."""

    folder: Path
    images: int
    network: str
    layer: str
    size: int


def measure(job: Job) -> float:
    """Peak MB of a dissection above what the process held before it; no decoded labels are kept."""
    torch.set_num_threads(1)
    count_what_is_in_use()
    net = workload.network(job.network, 0, job.size).get_submodule("net").requires_grad_(False)
    model = Preprocessed(net, lite.MEAN, lite.STD).eval()
    method = NetworkDissection(permutations=0, draws=0)
    method(model, [f"net.{job.layer}"], Broden(job.folder, limit=8, keep=0))  # what the first pass of all sets up
    forget_peak()
    before = resident("VmRSS")
    method(model, [f"net.{job.layer}"], Broden(job.folder, limit=job.images, keep=0))
    return resident("VmHWM") - before


def table(network: str, layer: str, size: int, images: int) -> str:
    """Markdown: the peaks, and what an image adds."""
    with TemporaryDirectory() as temporary:
        folder = draw(Path(temporary) / "broden", MORE * images, size)
        peaks = []
        for count in (images, MORE * images):
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                peaks.append(pool.submit(measure, Job(folder, count, network, layer, size)).result())
    each = (peaks[1] - peaks[0]) / ((MORE - 1) * images)
    full = peaks[0] + each * (FULL - images)
    lines = ["| images | peak MB | KB an image more |", "|---|---|---|", f"| {images} | {peaks[0]:.0f} | |"]
    lines.append(f"| {MORE * images} | {peaks[1]:.0f} | {1024 * each:.1f} |")
    lines.append(f"| {FULL:,}, projected | {full:.0f} | |")
    return "\n".join(lines) + "\n"
