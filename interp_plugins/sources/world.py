"""The drawn world's vocabulary, its paints and its places.

Everything that can be pointed at in a picture is a concept with a category and a number of its own. The categories
are those of the Broden data set, so whatever dissects with Broden dissects with this.
"""

from dataclasses import replace

import numpy as np

from interp_plugins.sources.broden import Concept
from interp_plugins.sources.brush import Canvas, Frame, Labels, Paint, only, union
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
PART = {name: NUMBER["part", name] for name in PARTS}

# place -> what is above the horizon, its colours, what is below, its colours
PLACES = {
    "beach": ("sky", ("blue",), "sand", ("yellow",)),
    "meadow": ("sky", ("blue",), "grass", ("green",)),
    "room": ("wall", ("yellow", "pink", "white"), "floor", ("brown",)),
    "sea": ("sky", ("blue",), "water", ("blue",)),
    "sky": ("sky", ("blue",), "sky", ("blue",)),
    "snowfield": ("sky", ("grey",), "snow", ("white",)),
    "street": ("sky", ("blue",), "road", ("grey",)),
    "underwater": ("water", ("blue",), "sand", ("brown",)),
}
PALE = {"sky": 0.55, "wall": 0.45, "sand": 0.45, "floor": 0.15, "water": 0.12, "road": 0.1, "snow": 0.0, "grass": 0.15}


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
            self.plain(f"{use}, dark", "black", "blue", "brown"),
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


def draw_place(canvas: Canvas, frame: Frame, dice: Dice, scene: Ints, horizon: Floats) -> None:
    """Paint what is behind everything: sky or wall, ground, and what belongs there.

    Args:
        canvas: Painted on.
        frame: The images' own frame.
        dice: The images' dice.
        scene: Index into SCENES, (n,).
        horizon: Height of the horizon, (n, 1, 1).
    """
    box = Paintbox(dice)
    here = {name: (scene == i)[:, None, None] for i, name in enumerate(SCENES)}
    outdoors = ~(here["room"] | here["underwater"])
    ground = (frame.y - horizon) / frame.pixel
    canvas.prime(ground, *_by_place(box, scene, 2), *_by_place(box, scene, 0))
    canvas.rgb -= (np.float32(0.1) * np.copysign(frame.y, frame.y - horizon))[..., None]  # paler towards the horizon

    sun = frame.circle(dice.between("sun x", -0.8, 0.8), dice.between("sun y", 0.6, 0.85), 0.13)
    sunny = outdoors & ~here["snowfield"] & dice.happens("sun", 0.4)
    canvas.paint(only(sun, sunny), box.plain("sun", "yellow"), object=NUMBER["object", "sun"], rim=0)
    for k in range(2):
        f = frame.placed(dice.between(f"cloud {k} x", -1, 1), dice.between(f"cloud {k} y", 0.4, 0.9))
        cloud = union(f.ellipse(-0.14, 0, 0.2, 0.09), f.ellipse(0.12, 0.01, 0.2, 0.08), f.ellipse(0, 0.06, 0.13, 0.11))
        cloudy = outdoors & dice.happens(f"cloud {k}", 0.6)
        canvas.paint(
            only(cloud, cloudy), box.plain("cloud", "white", pale=0.4), object=NUMBER["object", "cloud"], rim=0.1
        )

    hills = frame.ellipse(dice.between("hill x", -1, 1), horizon, 0.8, 0.28)
    hilly = (here["meadow"] | here["snowfield"] | here["beach"]) & (frame.y > horizon)
    canvas.paint(
        only(hills, hilly), box.plain("hill", "green", "grey", pale=0.25), object=NUMBER["object", "hill"], rim=0.1
    )
    waves = frame.box(0, horizon - 0.09, 2, 0.09)
    canvas.paint(only(waves, here["beach"]), box.plain("sea", "blue"), object=NUMBER["object", "water"], rim=0)
    along = (frame.x - dice.between("lane", 0, 0.6)) / np.float32(0.6)
    lane = replace(frame, x=along - np.floor(along)).box(0.5, horizon - 0.62, 0.27, 0.025)
    canvas.paint(only(lane, here["street"]), box.plain("lane", "white"), object=NUMBER["object", "road"], rim=0)
    f = frame.placed(dice.between("picture x", -0.8, 0.8), horizon + dice.between("picture y", 0.35, 0.55))
    framed = here["room"] & dice.happens("picture", 0.7)
    for shape, paint in (
        (f.box(0, 0, 0.22, 0.17), box.plain("picture frame", "brown", "black", "white")),
        (f.box(0, 0, 0.17, 0.12), box.plain("picture", *PALETTE, pale=0.3)),
    ):
        canvas.paint(only(shape, framed), paint, object=NUMBER["object", "picture"])


def _by_place(box: Paintbox, scene: Ints, half: int) -> tuple[Paint, Labels]:
    """The paint and the object number of one half of the picture, for each image by its place."""
    names, rgbs, objects = [], [], []
    for place in SCENES:
        what, colours = str(PLACES[place][half]), PLACES[place][half + 1]
        paint = box.plain(f"{place} {half}", *colours, pale=PALE[what])
        names.append(paint.name)
        rgbs.append(paint.rgb)
        objects.append(NUMBER["object", what])
    images = np.arange(len(scene))
    what_numbers = np.array(objects, np.int16)[scene]
    paint = Paint(np.stack(names)[scene, images], np.stack(rgbs)[scene, images], np.zeros(len(scene), np.int16))
    return paint, what_numbers


def draw_clutter(canvas: Canvas, frame: Frame, dice: Dice, horizon: Floats, number: int) -> None:
    """Paint one small thing nobody asked for into some images: a ball, a crate or a bush."""
    box, name = Paintbox(dice), f"clutter {number}"
    down = dice.between(f"{name} y", 0.1, 0.8)
    f = frame.placed(
        dice.between(f"{name} x", -0.95, 0.95), np.minimum(horizon, 0) - down, dice.between(f"{name} size", 0.1, 0.2)
    )
    kind, there = dice.below(f"{name} kind", 3)[:, None, None], dice.happens(name, 0.45)
    for k, (what, shape, paint) in enumerate(
        (
            ("ball", f.circle(0, 0, 0.8), box.cloth(f"{name} ball", f, "red", "blue", "yellow", "white", period=0.8)),
            ("crate", f.box(0, 0, 0.8, 0.7), box.cloth(f"{name} crate", f, "brown", "orange", "grey", period=0.9)),
            (
                "bush",
                union(f.circle(-0.6, 0, 0.6), f.circle(0.6, 0, 0.6), f.circle(0, 0.4, 0.75)),
                box.plain(f"{name} bush", "green"),
            ),
        )
    ):
        canvas.paint(only(shape, there & (kind == k)), paint, object=NUMBER["object", what])
