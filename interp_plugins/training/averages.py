"""A moving average of a network's weights, which often withstands more than the weights themselves.

    average <- decay average + (1 - decay) weights        after each step

Buffers, such as BatchNorm's statistics, are not averaged but taken as they are.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from interp_plugins.training.steps import bare


class WeightAverages:
    """The moving average of a network's parameters, which begins at what they are.

    Args:
        model: The network, maybe in DistributedDataParallel.
        decay: How much of the average stays at each step, between 0 and 1.

    Raises:
        ValueError: The decay is out of range.
    """

    def __init__(self, model: nn.Module, *, decay: float = 0.999) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"expected a decay between 0 and 1, got {decay}")
        self.decay = decay
        self._network = bare(model)
        self._averages = {name: value.detach().clone() for name, value in self._network.named_parameters()}

    def owner_is(self, model: nn.Module) -> bool:
        """Whether these are the averages of that network."""
        return self._network is bare(model)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights as they are."""
        for name, value in self._network.named_parameters():
            self._averages[name].lerp_(value, 1 - self.decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Hold the average in the network's parameters; afterwards, also on an exception, they are as before."""
        parameters = dict(self._network.named_parameters())
        weights = {name: value.detach().clone() for name, value in parameters.items()}
        try:
            self._fill(self._averages)
            yield
        finally:
            self._fill(weights)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by parameter name."""
        return dict(self._averages)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take averages that `state_dict` gave."""
        for name, value in self._averages.items():
            value.copy_(state[name])

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, value in self._network.named_parameters():
            value.copy_(values[name])
