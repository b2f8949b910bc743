import pytest
import torch
from oracles import fused_loss

from interp_plugins.attacks.fusion import FUSIONS

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(3, 4, 5, generator=GENERATOR, dtype=torch.float64) * 3
WEIGHTS = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
TARGETS = torch.tensor([0, 4, 2, 2])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_fusion_equals_its_definition(fusion):
    expected = [fused_loss(LOGITS[:, i].tolist(), WEIGHTS.tolist(), int(TARGETS[i]), fusion) for i in range(4)]
    torch.testing.assert_close(FUSIONS[fusion](LOGITS, WEIGHTS, TARGETS), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_fusion_passes_gradcheck(fusion):
    logits = LOGITS.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda z: FUSIONS[fusion](z, WEIGHTS, TARGETS), logits)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_one_member_is_plain_cross_entropy(fusion):
    alone = FUSIONS[fusion](LOGITS[:1], torch.ones(1, dtype=torch.float64), TARGETS)
    torch.testing.assert_close(alone, torch.nn.functional.cross_entropy(LOGITS[0], TARGETS, reduction="none"))


def test_two_members_by_hand():
    logits = torch.tensor([[[0.0, 0.0]], [[0.0, 2.0]]], dtype=torch.float64)  # p(y=1) = 1/2 and 0.880797
    half, target = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([1])
    values = {name: round(float(fuse(logits, half, target)), 6) for name, fuse in FUSIONS.items()}
    assert values == {"loss": 0.410038, "prob": 0.370486, "logit": 0.313262}
