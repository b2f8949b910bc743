"""The demo's three long jobs, cut into parts that any process can do: drawing, training, attacking.

A part's result depends on its arguments alone, so it does not matter which process does it, nor how many there are.
Networks travel as the bytes of a safetensors file, pictures as numpy arrays.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save

from interp_plugins.attacks import EnsembleOptimization, LeastLikely
from interp_plugins.demo.networks import ResidualNetwork, fresh, train
from interp_plugins.sources import scenes

Pictures = NDArray[np.uint8]
Numbers = NDArray[np.int64]
Job = tuple[Callable[..., Any], tuple[Any, ...]]
# Does jobs and hands back each result with its job's number, in whatever order they are ready.
Workers = Callable[[Sequence[Job]], Iterator[tuple[int, Any]]]


@contextmanager
def workers(processes: int) -> Iterator[Workers]:
    """Lend processes of one thread each; with one process the jobs are done here, on the caller's threads.

    Args:
        processes: At least 1. More than one needs a program that can be imported again (`if __name__ == "__main__"`).
    """
    if processes == 1:
        yield _here
        return
    pool = ProcessPoolExecutor(processes, get_context("spawn"), torch.set_num_threads, (1,))
    try:
        yield lambda jobs: _there(pool, jobs)
    finally:
        # After an interrupt nobody waits for jobs that have not begun.
        pool.shutdown(wait=False, cancel_futures=True)


def _here(jobs: Sequence[Job]) -> Iterator[tuple[int, Any]]:
    for number, (function, arguments) in enumerate(jobs):
        yield number, function(*arguments)


def _there(pool: ProcessPoolExecutor, jobs: Sequence[Job]) -> Iterator[tuple[int, Any]]:
    futures = {pool.submit(function, *arguments): number for number, (function, arguments) in enumerate(jobs)}
    for future in as_completed(futures):
        yield futures[future], future.result()


def draw(count: int, size: int, seed: int, start: int) -> tuple[Pictures, Numbers]:
    """Draw some of the world's pictures: bytes (n, 3, size, size) and labels (n,)."""
    drawn = scenes.draw(count, size, seed, start=start)
    return drawn.images.numpy(), drawn.labels.numpy()


@dataclass(frozen=True)
class Recipe:
    """All that decides a network besides the pictures."""

    depth: int
    width: int
    classes: int
    epochs: int
    seed: int

    def build(self, weights: bytes) -> ResidualNetwork:
        """Return the network with these weights, in eval mode."""
        network = fresh(self.depth, self.classes, self.width, self.seed)
        network.load_state_dict(load(weights))
        return network.eval()


def learn(recipe: Recipe, images: Pictures, labels: Numbers) -> tuple[bytes, float]:
    """Train a network; return its weights and its accuracy on the training pictures in the last round."""
    network = fresh(recipe.depth, recipe.classes, recipe.width, recipe.seed)
    *_, last = train(
        network, torch.from_numpy(images), torch.from_numpy(labels), epochs=recipe.epochs, seed=recipe.seed
    )
    return save(network.state_dict()), last.accuracy


def attack(
    method: EnsembleOptimization,
    targets: int,
    members: Sequence[tuple[Recipe, bytes]],
    images: Pictures,
    labels: Numbers,
) -> tuple[Pictures, Numbers]:
    """Attack pictures towards their least likely classes.

    Returns:
        The adversarial images rounded to bytes, (n, targets, 3, h, w), and the targets (n, targets).
    """
    found = method.run(
        [recipe.build(weights) for recipe, weights in members],
        torch.from_numpy(images).float() / 255,
        LeastLikely(targets),
        labels=torch.from_numpy(labels),
    )
    return (found.images * 255).round().to(torch.uint8).numpy(), found.targets.numpy()
