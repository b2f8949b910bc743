"""The demo's three long jobs, cut into parts that any process can do: drawing, training, attacking.

A part's result depends on its arguments and the demo's folder alone, so it does not matter which process does it, nor
how many there are. Pictures to learn from travel as numpy arrays; what is attacked lies in the folder, and so does what
comes of it.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from interp_plugins.attacks import EnsembleOptimization
from interp_plugins.attacks.targets import TargetPolicy
from interp_plugins.demo.folder import Folder, Recipe
from interp_plugins.demo.networks import fresh, train
from interp_plugins.foundation.files import write_whole
from interp_plugins.sources import images, scenes
from interp_plugins.store.generate import Generator
from interp_plugins.store.sets import AdversarialSet

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


def label(folder: Folder, count: int, size: int, seed: int, start: int) -> tuple[Pictures, Numbers]:
    """As `draw`, and write the pictures with what is where in them."""
    drawn = scenes.draw(count, size, seed, start=start)
    scenes.write_broden(drawn, folder.labelled)
    return drawn.images.numpy(), drawn.labels.numpy()


def learn(folder: Folder, recipe: Recipe, images: Pictures, labels: Numbers) -> float:
    """Train a network and write its weights; return its accuracy on the training pictures in the last round."""
    network = fresh(recipe.depth, recipe.classes, recipe.width, recipe.seed)
    *_, last = train(
        network, torch.from_numpy(images), torch.from_numpy(labels), epochs=recipe.epochs, seed=recipe.seed
    )
    write_whole(folder.weights(recipe), save(network.state_dict()))
    return last.accuracy


def attack(
    folder: Folder, members: Sequence[Recipe], method: EnsembleOptimization, policy: TargetPolicy, shard: int
) -> None:
    """Make one shard of the set: attack its pictures, write them, and judge what was written."""
    Generator(
        AdversarialSet.open(folder.set),
        [folder.network(member) for member in members],
        images.load(folder.pictures),
        method,
        policy,
    ).make([shard])
