"""The drawn world's vocabulary and its paints.

Everything that can be pointed at in a picture is a concept with a category and a number of its own. The categories
are those of the Broden data set, so whatever dissects with Broden dissects with this.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from interp_plugins.foundation.concepts import Concept
from interp_plugins.sources.brush import Canvas, Frame, Paint
from interp_plugins.sources.chance import Dice, Floats, Ints

PALETTE = {
    "black": (0.13, 0.13, 0.15),
    "blue": (0.20, 0.40, 0.85),
    "brown": (0.50, 0.32, 0.18),
    "green": (0.25, 0.60, 0.26),
    "grey": (0.56, 0.57, 0.59),
    "orange": (0.96, 0.55, 0.12),
    "pink": (0.97, 0.58, 0.72),
    "purple": (0.52, 0.28, 0.68),
    "red": (0.86, 0.17, 0.18),
    "white": (0.95, 0.95, 0.93),
    "yellow": (0.98, 0.84, 0.20),
}
SCENES = ("beach", "meadow", "room", "sea", "sky", "snowfield", "street", "underwater")
TEXTURES = ("chequered", "dotted", "striped", "zigzagged")
THINGS = {  # class name -> WordNet 3.0 noun synset; the order is the order of the labels
    "airplane": "n02691156",
    "bird": "n01503061",
    "butterfly": "n02274259",
    "car": "n02958343",
    "chair": "n03001627",
    "church": "n03028079",
    "fish": "n02512053",
    "flower": "n11669921",
    "house": "n03544360",
    "ladybug": "n02165456",
    "lighthouse": "n02814860",
    "mushroom": "n12997919",
    "sailboat": "n04128499",
    "table lamp": "n04380533",
    "tree": "n13104059",
    "truck": "n04490091",
}
SURROUNDINGS = (
    "ball", "bush", "cloud", "crate", "floor", "grass", "hill", "picture", "road", "sand", "sky", "snow", "sun",
    "wall", "water",
)  # fmt: skip
PARTS = (
    "antenna", "back rest", "beak", "bodywork", "bulb", "cap", "chimney", "container", "cross", "crown", "door",
    "eye", "facade", "fin", "flag", "foot", "gallery", "head", "headlight", "hub", "hull", "lantern", "leaf", "leg",
    "mast", "petal", "pistil", "porthole", "roof", "sail", "seat", "shade", "spot", "stem", "tail", "torso",
    "tower", "trunk", "wheel", "window", "wing",
)  # fmt: skip


NAMES = {
    "color": tuple(PALETTE),
    "object": tuple(sorted((*THINGS, *SURROUNDINGS))),
    "part": PARTS,
    "scene": SCENES,
    "texture": TEXTURES,
}
CONCEPTS = tuple(
    Concept(number, name, category)
    for number, (category, name) in enumerate(((c, n) for c, names in NAMES.items() for n in names), start=1)
)
NUMBER = {(concept.category, concept.name): concept.number for concept in CONCEPTS}


class Paintbox:
    """Paints for some images: colours are picked by the images' dice and varied a little: no two reds are the same."""

    def __init__(self, dice: Dice) -> None:
        self.dice = dice

    def plain(self, use: str, *colours: str, pale: float = 0.0) -> Paint:
        """One of the colours for each image; `pale` mixes white in. `use` names the draw: another use, another pick."""
        numbers = np.array([NUMBER["color", colour] for colour in colours], np.int16)
        rgbs = np.array([PALETTE[colour] for colour in colours], np.float32)
        pick = self.dice.below(f"{use}: colour", len(colours))
        vary = self.dice.four(f"{use}: shade")
        rgb = rgbs[pick] * (np.float32(0.86) + np.float32(0.24) * vary[:, :1]) + np.float32(0.09) * (vary[:, 1:] - 0.5)
        return Paint(numbers[pick], np.clip(rgb + np.float32(pale) * (1 - rgb), 0, 1), np.zeros(len(pick), np.int16))

    def cloth(self, use: str, frame: Frame, *colours: str, plain: float = 0.5, period: float = 0.3) -> Paint:
        """Like `plain`, and in the other images woven with a second colour: chequered, dotted, striped or zigzagged.

        Args:
            use: Names the draws.
            frame: The texture lies on the thing and turns with it.
            colours: What the first colour is picked from; the second is light on dark or dark on light.
            plain: The share of images without a texture.
            period: The texture's repeat in the frame's units.
        """
        first = self.plain(use, *colours)
        light, dark = (
            self.plain(f"{use}, light", "white", "yellow"),
            self.plain(f"{use}, dark", "black", "brown"),
        )
        bright = first.rgb.sum(1, keepdims=True) > 1.5
        over = replace(
            first, name=np.where(bright[:, 0], dark.name, light.name), rgb=np.where(bright, dark.rgb, light.rgb)
        )
        kind = self.dice.below(f"{use}: texture", len(TEXTURES))
        kind[self.dice.happens(f"{use}: plain", plain)[:, 0, 0]] = -1
        periods = period * self.dice.between(f"{use}: period", 0.85, 1.2)
        weave, texture = np.zeros_like(frame.x), np.zeros(len(kind), np.int16)
        for k, texture_name in enumerate(TEXTURES):
            images = np.flatnonzero(kind == k)
            weave[images] = _weave(texture_name, frame[images], periods[images])
            texture[images] = NUMBER["texture", texture_name]
        return replace(first, texture=texture, over=over, weave=weave)


def _weave(texture: str, frame: Frame, period: Floats) -> Floats:
    """How much of the second colour each pixel shows."""
    u, v, soft = frame.x / period, frame.y / period, 2 * frame.pixel / period
    if texture == "chequered":
        across, up = _step(_wave(u / 2), soft), _step(_wave(v / 2), soft)
        return across + up - 2 * across * up
    if texture == "dotted":
        u, v = u - np.floor(u) - np.float32(0.5), v - np.floor(v) - np.float32(0.5)
        return _step(2 * (np.float32(0.3) - np.sqrt(u * u + v * v)), soft)
    if texture == "striped":
        return _step(_wave(v), soft)
    return _step(_wave(v + np.float32(0.8) * _wave(u / 2)), soft)  # zigzagged


def _wave(t: Floats) -> Floats:
    """A triangle wave from -0.5 to 0.5 with period 1."""
    wave: Floats = 2 * np.abs(t - np.floor(t) - np.float32(0.5)) - np.float32(0.5)
    return wave


def _step(t: Floats, soft: Floats) -> Floats:
    """0 below zero, 1 above, with a slope one pixel wide."""
    slope: Floats = np.clip(t / soft + np.float32(0.5), 0, 1)
    return slope


class Easel:
    """Some images of a canvas, set up for painting one kind of thing on them.

    Args:
        thing: The object's name.
        canvas: Painted on.
        frame: The thing's frame in these images.
        dice: These images' dice.
        images: Which of the canvas's images these are.
    """

    def __init__(self, thing: str, canvas: Canvas, frame: Frame, dice: Dice, images: Ints) -> None:
        self.frame, self.dice, self.box = frame, dice, Paintbox(dice)
        self._paint = partial(canvas.paint, images=images, object=NUMBER["object", thing])

    def whole(self, shape: Floats, paint: Paint, rim: float = 0.0) -> None:
        """Paint something without parts."""
        self._paint(shape, paint, rim=rim)

    def part(self, name: str, shape: Floats, paint: Paint) -> None:
        """Paint a part."""
        self._paint(shape, paint, part=NUMBER["part", name])

    def detail(self, name: str, shape: Floats, paint: Paint) -> None:
        """Paint a part of the part beneath."""
        self._paint(shape, paint, detail=NUMBER["part", name], rim=0.15)
