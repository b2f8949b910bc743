"""What all measures of a network's units cost beside its forward passes, how much memory, and what half a million take.

    python -m benchmarks survey [--images 48 --each 4 --rounds 3] [--network resnet18 --size 224]

Three tables. *Time*: both passes of a survey (top images of all convolutions' units, class means, r_1 and r_2 of the
last maps, 1,000 classes) over the bare forward passes of the same images, in the same tiles and memory format; the
second pass looks at the clean images again, and so does its floor. Then LC, consis_adv, CS and r at the end. CPU times
of one thread in interleaved rounds; quote the ratios, which should be at most 1.15. *Memory*: the peak of a survey of N
images and of 8 N, each in a fresh process (Linux). *Projection*: 50,000 real and 500,000 attacked images, from the
measured seconds of a forward pass and its measuring; the end is timed with so many random top images. Weights are
random and images smooth noise.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from statistics import median

import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks import workload
from benchmarks.attack_memory import count_what_is_in_use, forget_peak, resident
from benchmarks.measure import Job, Timing, cpu_seconds, interleave
from interp_plugins.foundation.measuring import conv_layers, for_measuring, last_map
from interp_plugins.neurons.exemplars import Exemplars, top_count
from interp_plugins.neurons.passes import AttackedPass, RealPass, Sight, last_layers
from interp_plugins.neurons.survey import LayerSurvey, Records, survey

CLASSES = 1000  # of torchvision's networks
BATCH = 64  # forward passes between two updates, as `neurons run` has them
MORE, MEMORY_K, MEMORY_BATCH = 8, 8, 16  # where memory is measured: times the images, top images, forward passes
FIRST, SECOND, END = "first pass: real", "second pass: clean and attacked", "LC, consis_adv, CS, r"
FLOORS = {FIRST: "bare forward, real", SECOND: "bare forward, clean and attacked"}


@dataclass(frozen=True)
class Work:
    """How many images of which side, how many attacked ones of each, and which network."""

    images: int
    each: int
    size: int
    rows: int
    name: str = "resnet18"
    batch: int = BATCH

    def network(self) -> nn.Module:
        """In the format in which it is measured."""
        example = workload.pictures(1, self.size)
        return for_measuring(workload.network(self.name, 0, self.size), example)

    def sight(self, network: nn.Module) -> Sight:
        """Every convolution, and the last maps."""
        phi = last_map(network, workload.pictures(1, self.size))
        return Sight(network=network, layers=last_layers(conv_layers(network), phi), representation=phi, tile=self.rows)

    def real(self) -> Iterator[tuple[range, Tensor]]:
        """The batches of the first pass."""
        return self._batches(self.batch)

    def clean(self) -> Iterator[tuple[range, Tensor]]:
        """The batches of the second pass, of fewer clean images, because it looks at the attacked ones as well."""
        return self._batches(max(1, self.batch // self.each))

    def _batches(self, size: int) -> Iterator[tuple[range, Tensor]]:
        """Numbers and pixels of the images, the same in every call with this size."""
        for start in range(0, self.images, size):
            count = min(size, self.images - start)
            yield range(start, start + count), workload.pictures(count, self.size, seed=start)


def _labels(numbers: range) -> Tensor:
    return torch.tensor(numbers) // 2 % CLASSES  # two pictures a class


def _targets(numbers: range, each: int) -> Tensor:
    return (_labels(numbers)[:, None] + 1 + 37 * torch.arange(each)) % CLASSES


@dataclass
class Run:
    """Both passes over the images of some work, from pixels that are at hand or come and go."""

    work: Work
    sight: Sight
    width: int
    k: tuple[int, int]  # top images of a unit, real and attacked
    first: RealPass = field(init=False)
    second: AttackedPass = field(init=False)

    def real(self, batches: Iterable[tuple[range, Tensor]]) -> None:
        """The first pass."""
        self.first = RealPass(self.sight, self.k[0], CLASSES, self.width)
        for numbers, images in batches:
            self.first.update(images, _labels(numbers), torch.tensor(numbers))

    def attacked(self, batches: Iterable[tuple[range, Tensor]]) -> None:
        """The second pass; an attacked image is the clean one mirrored, which costs what any other does."""
        each = self.work.each
        self.second = AttackedPass(self.sight, self.k[1], self.first.metrics["centres"].compute(), held_out=False)
        for numbers, images in batches:
            ids = torch.tensor(numbers)[:, None] * each + torch.arange(each)
            self.second.update(images, _labels(numbers), mirrored(images, each), _targets(numbers, each), ids)

    def end(self) -> float:
        """All measures of what the passes left; brings the mean LC."""
        numbers = range(self.work.images)
        labels, targets = _labels(numbers), _targets(numbers, self.work.each)
        says = self.second.metrics["answers"].compute()
        copies = (labels.repeat_interleave(self.work.each), targets.flatten(), says)
        records = Records(*copies, sources=torch.tensor(numbers).repeat_interleave(self.work.each))
        self.first.metrics["answers"].compute()
        self.second.metrics["ratios"].compute()
        real, top = self.first.metrics["exemplars"].compute(), self.second.metrics["exemplars"].compute()
        similarity = alike()
        found = [survey(real[layer], labels, similarity, top[layer], records) for layer in self.sight.layers]
        return float(torch.cat([layer.lc.raw for layer in found]).nanmean())


def mirrored(images: Tensor, each: int) -> Tensor:
    """Each image (c, h, w) as often as asked for, left and right exchanged: (n, each, c, h, w)."""
    return images.flip(-1)[:, None].expand(-1, each, *images.shape[1:]).contiguous()


def alike() -> Tensor:
    """A similarity of all classes."""
    return (torch.eye(CLASSES, dtype=torch.float64) + 1) / 2


def prepared(work: Work, k: tuple[int, int] | None = None) -> Run:
    """A run that has seen nothing."""
    sight = work.sight(work.network())
    seen = sight.look(workload.pictures(1, work.size)).whole
    assert seen is not None
    few = top_count(work.images), top_count(work.images * work.each)
    return Run(work, sight, seen[0].numel(), k or few)


def jobs(run: Run) -> dict[str, Job]:
    """The parts of a survey, in order, each pass beside its floor."""
    work, network = run.work, run.sight.network
    real = list(work.real())
    pairs = list(work.clean())

    def forward(images: Tensor) -> None:
        with torch.no_grad():
            for some in images.split(work.rows):
                network(some)

    def again(images: Tensor) -> None:
        forward(images)
        forward(mirrored(images, work.each).flatten(0, 1))

    def over(batches: Iterable[tuple[range, Tensor]], look: Callable[[Tensor], None]) -> Job:
        def every() -> None:
            for _, images in batches:
                look(images)

        return every

    return {
        FLOORS[FIRST]: over(real, forward),
        FIRST: lambda: run.real(real),
        FLOORS[SECOND]: over(pairs, again),
        SECOND: lambda: run.attacked(pairs),
        END: run.end,
    }


def added(timing: Timing) -> dict[str, list[float]]:
    """For each pass, both, and all with the end: this / the floor, in each round."""
    floors, passes = ([timing.seconds[name] for name in names] for names in (FLOORS.values(), FLOORS))
    floor = [sum(one) for one in zip(*floors, strict=True)]
    both = [sum(one) for one in zip(*passes, strict=True)]
    everything = [sum(one) for one in zip(both, timing.seconds[END], strict=True)]
    over = {name: (timing.seconds[name], timing.seconds[FLOORS[name]]) for name in FLOORS}
    over |= {"both passes": (both, floor), "both passes and the end": (everything, floor)}
    return {name: [a / b for a, b in zip(*pair, strict=True)] for name, pair in over.items()}


def times(timing: Timing) -> str:
    """Markdown: seconds of each part, and the ratios."""
    lines = ["|  | CPU s |", "|---|---|"]
    lines += [f"| {name} | {median(seconds):.3g} |" for name, seconds in timing.seconds.items()]
    lines += ["", "|  | / bare forward passes |", "|---|---|"]
    for name, found in added(timing).items():
        lines.append(f"| {name} | {median(found):.3f} ({min(found):.3f} to {max(found):.3f}) |")
    return "\n".join(lines) + "\n"


def peak(work: Work) -> float:
    """Peak MB of a survey above what the process held before it."""
    torch.set_num_threads(1)
    count_what_is_in_use()
    run = prepared(work, (MEMORY_K, MEMORY_K))
    forget_peak()
    before = resident("VmRSS")
    run.real(work.real())
    run.attacked(work.clean())
    run.end()
    return resident("VmHWM") - before


def memory(work: Work) -> str:
    """Markdown: peaks of a short and of a long survey, each from a process of its own."""
    lines = ["| real images | attacked | peak MB |", "|---|---|---|"]
    for times_ in (1, MORE):
        some = Work(work.images * times_, work.each, work.size, work.rows, work.name, MEMORY_BATCH)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            found = pool.submit(peak, some).result()
        lines.append(f"| {some.images} | {some.images * work.each} | {found:.0f} |")
    return "\n".join(lines) + "\n"


def ending(units: Sequence[int], real: int, attacked: int) -> float:
    """CPU seconds of LC, consis_adv and CS of layers with these numbers of units, from random top images."""
    generator = torch.Generator().manual_seed(0)

    def drawn(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    def top(layer: int, n: int) -> Exemplars:
        k, u = top_count(n), units[layer]
        ids = drawn(n // k, u, k) + torch.arange(k) * (n // k)  # each image once
        return Exemplars("", torch.zeros(u, k), ids, n, torch.zeros(u, dtype=torch.bool))

    labels, targets, says = (drawn(CLASSES, n) for n in (real, attacked, attacked))
    sources = torch.arange(attacked) * real // attacked
    records = Records(labels[sources], targets, says, sources)
    seconds, similarity = 0.0, alike()
    for layer in range(len(units)):
        tops = top(layer, real), top(layer, attacked)
        start = cpu_seconds()
        _: LayerSurvey = survey(tops[0], labels, similarity, tops[1], records)
        seconds += cpu_seconds() - start
    return seconds


def projection(timing: Timing, work: Work, units: Sequence[int], real: int, attacked: int, cores: int) -> str:
    """Markdown: core hours of each part for that many images."""
    here = {FIRST: work.images, SECOND: work.images * (1 + work.each)}
    there = {FIRST: real, SECOND: real + attacked}
    lines = ["|  | forward passes | core ms each | core hours |", "|---|---|---|---|"]
    hours = 0.0
    for name, count in here.items():
        rate = median(timing.seconds[name]) / count
        hours += rate * there[name] / 3600
        lines.append(f"| {name} | {there[name]:,} | {1000 * rate:.1f} | {rate * there[name] / 3600:.2f} |")
    last = ending(units, real, attacked) / 3600
    lines.append(f"| {END} | - | - | {last:.3f} |")
    lines.append(f"| together | | | {hours + last:.1f}; on {cores} cores {hours / cores + last:.2f} |")
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> str:
    """Measure, print the tables and return them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks survey", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--each", type=int, default=4, help="attacked images of a real one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", default="resnet18", help="of torchvision")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rows", type=int, default=8, help="images a network call, for all")
    parser.add_argument("--real", type=int, default=50_000, help="images of the projection")
    parser.add_argument("--attacked", type=int, default=500_000, help="of the projection")
    parser.add_argument("--cores", type=int, default=64, help="of the projection's larger machine")
    parser.add_argument(
        "--memory-images", type=int, default=16, help="of the short survey; the long one has 8 times as many"
    )
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    console = Console(stderr=True)
    work = Work(given.images, given.each, given.size, given.rows, given.network)
    run = prepared(work)
    timing = interleave(
        jobs(run),
        given.rounds,
        watch=lambda number, name: console.print(f"round {number} of {given.rounds}: {name}"),
    )
    units = [len(one.values) for one in run.first.metrics["exemplars"].compute().values()]
    shown = times(timing) + "\n"
    console.print("measuring memory")
    shown += memory(Work(given.memory_images, given.each, given.size, given.rows, given.network)) + "\n"
    console.print("measuring the end of a large survey")
    shown += projection(timing, work, units, given.real, given.attacked, given.cores)
    print(
        f"{given.network}, {len(units)} layers, {sum(units)} units; {given.images} images of {given.size} pixels and "
        f"{given.each} attacked of each, {given.rows} rows a call; {given.rounds} rounds; torch {torch.__version__}, "
        f"{torch.backends.cpu.get_cpu_capability()}: median (smallest to largest)\n\n{shown}"
    )
    return shown


if __name__ == "__main__":
    main()
