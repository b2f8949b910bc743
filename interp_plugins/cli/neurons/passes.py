"""The two passes of a survey, cut into shards."""

from collections.abc import Sequence

import torch

from interp_plugins.cli.neurons.inputs import SHARD, Attacked, Inputs, span
from interp_plugins.cli.working import Pass
from interp_plugins.neurons.centres import Centres
from interp_plugins.neurons.passes import AttackedPass, RealPass
from interp_plugins.store.surveys import Phase, SurveyFolder

BATCH = 64  # images looked at together, so that many scores are sorted in at once


def begin(phase: Phase, loaded: Inputs, folder: SurveyFolder) -> Pass:
    """A pass that has seen nothing; the second knows the class means of the first, which is finished."""
    first = _Real(loaded)
    if phase == "real" or loaded.attacked is None:
        return first
    known = folder.computed("real", {"centres": first.metrics["centres"]})
    return _Attacked(loaded, loaded.attacked, known["centres"])


class _Real:
    def __init__(self, loaded: Inputs) -> None:
        k, classes = int(str(loaded.manifest.settings["k"])), len(loaded.similarity)
        self._loaded, self._pass = loaded, RealPass(loaded.sight, k, classes, loaded.width)
        self.metrics = self._pass.metrics

    def look(self, shard: int) -> None:
        real, count = self._loaded.real, self._loaded.manifest.real.count
        for numbers in _batches(range(shard * SHARD, min((shard + 1) * SHARD, count)), BATCH):
            images = self._loaded.pixels(real, numbers)
            labels = real.labels[list(numbers)].to(images.device)
            self._pass.update(images, labels, torch.tensor(numbers))


class _Attacked:
    def __init__(self, loaded: Inputs, attacked: Attacked, centres: Centres) -> None:
        k = int(str(loaded.manifest.settings["k attacked"]))
        self._loaded, self._attacked = loaded, attacked
        self._pass = AttackedPass(loaded.sight, k, centres, held_out=not attacked.inside)
        self.metrics = self._pass.metrics

    def look(self, shard: int) -> None:
        here = self._attacked
        size = span(here)
        numbers = here.spans[shard * size : (shard + 1) * size]
        alone = [number for number in numbers if number not in here.places]
        for some in _batches(alone, BATCH):
            images = self._loaded.pixels(here.clean, some)
            self._pass.update(images, here.clean.labels[some].to(images.device))
        for some in _batches([number for number in numbers if number in here.places], max(1, BATCH // here.each)):
            self._with_attacked(some)

    def _with_attacked(self, numbers: Sequence[int]) -> None:
        here = self._attacked
        images = self._loaded.pixels(here.clean, numbers)
        ids = torch.tensor([[here.places[n] * here.each + j for j in range(here.each)] for n in numbers])
        records = [[here.records[id] for id in row] for row in ids.tolist()]
        pixels = torch.stack([torch.stack([record.adversarial for record in row]) for row in records])
        targets = torch.tensor([[record.target for record in row] for row in records]).to(images.device)
        labels = here.clean.labels[list(numbers)].to(images.device)
        self._pass.update(images, labels, self._loaded.put(pixels), targets, ids)


def _batches(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]
