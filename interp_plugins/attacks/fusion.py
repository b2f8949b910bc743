"""How the answers of several members become one loss: average the losses, the probabilities or the logits.

Each fusion maps logits (k, n, classes), weights (k,) that sum to one, and targets (n,) to one loss an image (n,). The
paper averages the losses; the other two are compared with it by Dong et al. 2018 (arXiv:1710.06081, section 3.2).
"""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Fusion = Literal["loss", "prob", "logit"]


def loss(
    logits: Float[Tensor, "k n classes"], weights: Float[Tensor, " k"], targets: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Σ_k w_k · -log softmax(z_k)[y]: a sum over members, so that each can be differentiated alone."""
    return (weights[:, None] * -_target_log_probability(logits, targets)).sum(0)


def prob(
    logits: Float[Tensor, "k n classes"], weights: Float[Tensor, " k"], targets: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """-log Σ_k w_k softmax(z_k)[y] (Liu et al. 2017)."""
    return -torch.logsumexp(_target_log_probability(logits, targets) + weights.log()[:, None], 0)


def logit(
    logits: Float[Tensor, "k n classes"], weights: Float[Tensor, " k"], targets: Int[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """-log softmax(Σ_k w_k z_k)[y]."""
    return F.cross_entropy((weights[:, None, None] * logits).sum(0), targets, reduction="none")


def _target_log_probability(logits: Tensor, targets: Tensor) -> Tensor:
    index = targets.expand(len(logits), -1).unsqueeze(2)
    return logits.log_softmax(2).gather(2, index).squeeze(2)


FUSIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"loss": loss, "prob": prob, "logit": logit}
