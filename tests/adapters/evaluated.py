"""Real and attacked images for the tests of evaluators: 40 pictures, and two noisy versions of each of the first 20."""

import torch
from toys import CLASSES

_chance = torch.Generator().manual_seed(0)

IMAGES = torch.rand(40, 3, 8, 8, generator=_chance)
LABELS = torch.randint(CLASSES, (40,), generator=_chance)
SOURCES = torch.arange(20).repeat_interleave(2)
MOVED = (IMAGES[SOURCES] + 0.3 * torch.randn(40, 3, 8, 8, generator=_chance)).clamp(0, 1)
TARGETS = (LABELS[SOURCES] + 1 + torch.arange(40) % 2) % CLASSES
REAL = (IMAGES, LABELS)
ATTACKED = (MOVED, LABELS[SOURCES], TARGETS, SOURCES)
ALIKE = 0.5 + 0.5 * torch.eye(CLASSES)
