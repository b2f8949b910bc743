"""The drawn world: labelled pictures with pixel-true concepts, at any number, from a seed alone.

Sixteen classes, named by WordNet synsets, stand in eight kinds of places among clutter. For each pixel it is known
which colour, object, part and texture was painted there, and which scene the picture shows. Everything this package
does runs on these pictures offline, and what it finds can be held against what was drawn. They are drawings: what a
network learns from them says nothing about photographs.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interp_plugins.foundation.concepts import Concept
from interp_plugins.sources import broden
from interp_plugins.sources.brush import Canvas, Frame, Labels
from interp_plugins.sources.chance import Dice, Ints
from interp_plugins.sources.places import draw_clutter, draw_place
from interp_plugins.sources.things import HABITS, Habit
from interp_plugins.sources.world import CONCEPTS, NUMBER, SCENES, THINGS, Easel

TOGETHER = 64  # images drawn at a time: few enough to stay in the processor's cache


@dataclass(frozen=True)
class Scenes:
    """Drawn pictures and what is known about them.

    Args:
        images: uint8 (n, 3, size, size).
        labels: Class of the main thing, int64 (n,), an index into `classes` and `wnids`.
        classes: The sixteen class names.
        wnids: Their WordNet 3.0 noun synsets.
        masks: Category -> concept numbers, int16 (n, layers, size, size), 0 = none. Two layers of parts: a part, and
            a part of it.
        concepts: What the numbers mean; each number belongs to one category.
        ids: "scenes/<seed>/<index>".
        seed: What they were drawn from.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    wnids: tuple[str, ...]
    masks: dict[str, Labels]
    concepts: tuple[Concept, ...]
    ids: tuple[str, ...]
    seed: int

    def __len__(self) -> int:
        return len(self.images)

    def floats(self) -> Tensor:
        """The images as networks want them: float32 in [0, 1], (n, 3, size, size)."""
        return self.images.float() / 255


def draw(n: int, size: int = 64, seed: int = 0, *, start: int = 0) -> Scenes:
    """Draw images `start` to `start + n - 1` of a seed.

    Image i of a seed is the same to the bit however many are drawn, and any sixteen images from a multiple of sixteen
    on hold each class once.

    Args:
        n: How many, at least 1.
        size: Height and width in pixels, at least 16.
        seed: Any integer: another seed, another world.
        start: The first image's index; disjoint ranges make training and held-out sets.

    Raises:
        ValueError: n, size or start is too small.

    Example:
        >>> scenes = draw(16, size=32)
        >>> tuple(scenes.images.shape), scenes.ids[3], sorted(scenes.labels.tolist()) == list(range(16))
        ((16, 3, 32, 32), 'scenes/0/3', True)
    """
    for name, value, least in (("n", n, 1), ("size", size, 16), ("start", start, 0)):
        if value < least:
            raise ValueError(f"expected {name} of at least {least}, got {value}")
    index = np.arange(start, start + n)
    labels = _labels(seed, index)
    images = np.empty((n, 3, size, size), np.uint8)
    layers = {"color": 1, "object": 1, "part": 2, "scene": 1, "texture": 1}
    masks = {category: np.empty((n, count, size, size), np.int16) for category, count in layers.items()}
    for number, name in enumerate(THINGS):
        mine = np.flatnonzero(labels == number)
        for some in np.split(mine, range(TOGETHER, len(mine), TOGETHER)):
            if len(some):
                canvas, scene = _draw(name, Dice(seed, index[some]), size)
                images[some] = np.rint(np.clip(canvas.rgb, 0, 1) * 255).transpose(0, 3, 1, 2)
                masks["color"][some, 0], masks["object"][some, 0] = canvas.color, canvas.object
                masks["part"][some, 0], masks["part"][some, 1] = canvas.part, canvas.detail
                masks["texture"][some, 0] = canvas.texture
                masks["scene"][some] = (scene + NUMBER["scene", SCENES[0]])[:, None, None, None]
    ids = tuple(f"scenes/{seed}/{i}" for i in index.tolist())
    classes, wnids = tuple(THINGS), tuple(THINGS.values())
    return Scenes(torch.from_numpy(images), torch.from_numpy(labels), classes, wnids, masks, CONCEPTS, ids, seed)


def write_broden(scenes: Scenes, folder: Path | str, *, min_frequency: int = 10, min_coverage: float = 0.5) -> Path:
    """Write the pictures and their concepts as a Broden directory; see `broden.write`.

    Example:
        >>> write_broden(draw(1000), "broden_scenes")  # doctest: +SKIP
    """
    return broden.write(
        folder, scenes.images, scenes.masks, scenes.concepts, scenes.ids,
        whole=("scene",), min_frequency=min_frequency, min_coverage=min_coverage,
    )  # fmt: skip


def _labels(seed: int, index: Ints) -> Ints:
    """Each sixteen images in a row hold each class once, in an order of their own."""
    count = len(THINGS)
    first, last = int(index[0]) // count, int(index[-1]) // count
    order = np.stack([Dice(seed, np.arange(first, last + 1)).words(f"class {k}") for k in range(count)], 1).argsort(1)
    return order[index // count - first, index % count]


def _draw(thing: str, dice: Dice, size: int) -> tuple[Canvas, Ints]:
    """One thing for all these dice, each in its place; the canvas and the indices of the scenes."""
    habit, count = HABITS[thing], len(dice.index)
    home = np.array([SCENES.index(place) for place in habit.places])[dice.below("home", len(habit.places))]
    scene = np.where(dice.happens("away", 1 / 8)[:, 0, 0], dice.below("anywhere", len(SCENES)), home)
    canvas, frame = Canvas(count, size), Frame.of_images(count, size)
    horizon = draw_place(canvas, frame, dice, scene)
    draw_clutter(canvas, frame, dice, horizon, "behind")
    habit.paint(Easel(thing, canvas, _stand(frame, habit, dice), dice, np.arange(count)))
    draw_clutter(canvas, frame, dice, horizon, "before")
    _light(canvas, dice)
    return canvas, scene


def _stand(frame: Frame, habit: Habit, dice: Dice) -> Frame:
    """Where the main thing is, how large, how turned, and which way it looks."""
    scale, turn = dice.between("size", 0.42, 0.76), dice.between("turn", -habit.tilt, habit.tilt)
    y = dice.between("foot", -0.95, -0.55) + scale if habit.stands else dice.between("height", -0.3, 0.4)
    mirror = np.where(dice.happens("mirror", 0.5), np.float32(-1), np.float32(1))
    return frame.placed(dice.between("x", -0.38, 0.38), y, scale, turn, mirror)


def _light(canvas: Canvas, dice: Dice) -> None:
    """Daylight, contrast and the grain of a camera, a little different in every picture."""
    contrast, light = dice.between("contrast", 0.78, 1.05), dice.between("light", -0.12, 0.05)
    grain = dice.between("grain", 0.02, 0.1)
    canvas.rgb = (canvas.rgb - np.float32(0.5)) * contrast[..., None] + (0.5 + light)[..., None]
    for channel, name in enumerate("rgb"):
        canvas.rgb[..., channel] += grain * dice.noise(f"grain {name}", canvas.size)
