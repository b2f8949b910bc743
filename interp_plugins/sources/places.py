"""The eight kinds of places of the drawn world: what is behind everything, and what lies about."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from interp_plugins.sources.brush import Canvas, Frame, Labels, Paint, intersection, union
from interp_plugins.sources.chance import Dice, Floats, Ints
from interp_plugins.sources.world import NUMBER, PALETTE, SCENES, Easel, Paintbox

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
LOWER = {"sky": 1.7, "underwater": 0.55}  # there the horizon lies lower, or below the picture


def draw_place(canvas: Canvas, frame: Frame, dice: Dice, scene: Ints) -> Floats:
    """Paint what is behind everything: sky or wall, ground, and what belongs there.

    Args:
        canvas: Painted on.
        frame: The images' own frame.
        dice: The images' dice.
        scene: Index into SCENES, (n,).

    Returns:
        Height of the horizon, (n, 1, 1).
    """
    box = Paintbox(dice)
    horizon = (
        dice.between("horizon", -0.15, 0.3) - np.array([LOWER.get(p, 0) for p in SCENES], np.float32)[scene, None, None]
    )
    ground = (frame.y - horizon) / frame.pixel
    canvas.prime(ground, *_by_place(box, scene, 2), *_by_place(box, scene, 0))
    canvas.rgb -= (np.float32(0.1) * np.copysign(frame.y, frame.y - horizon))[..., None]  # paler towards the horizon
    for name, decor in DECOR.items():
        where = (
            np.isin(scene, [SCENES.index(place) for place in decor.places]) & dice.happens(name, decor.chance)[:, 0, 0]
        )
        images = np.flatnonzero(where)
        if len(images):
            easel = Easel(decor.thing, canvas, frame[images], dice[images], images)
            decor.paint(easel, name, horizon[images])
    return horizon


def draw_clutter(canvas: Canvas, frame: Frame, dice: Dice, horizon: Floats, name: str) -> None:
    """Paint one small thing nobody asked for into nearly half of the images: a ball, a crate or a bush."""
    down = dice.between(f"{name} y", 0.1, 0.8)
    x, y, size = (
        dice.between(f"{name} x", -0.95, 0.95),
        np.minimum(horizon, 0) - down,
        dice.between(f"{name} size", 0.1, 0.2),
    )
    frame, kind = frame.placed(x, y, size), dice.below(f"{name} kind", len(CLUTTER))
    there = dice.happens(name, 0.45)[:, 0, 0]
    for k, (thing, paint) in enumerate(CLUTTER.items()):
        images = np.flatnonzero(there & (kind == k))
        if len(images):
            paint(Easel(thing, canvas, frame[images], dice[images], images), f"{name} {thing}")


def _by_place(box: Paintbox, scene: Ints, half: int) -> tuple[Paint, Labels]:
    """The paint and the object number of one half of the picture, for each image by its place."""
    things, paints = [], []
    for place in SCENES:
        thing, colours = str(PLACES[place][half]), PLACES[place][half + 1]
        things.append(NUMBER["object", thing])
        paints.append(box.plain(f"{place} {thing}", *colours, pale=PALE[thing]))
    at = scene, np.arange(len(scene))
    name, rgb, texture = (np.stack([getattr(p, key) for p in paints])[at] for key in ("name", "rgb", "texture"))
    return Paint(name, rgb, texture), np.array(things, np.int16)[scene]


def _sun(easel: Easel, name: str, horizon: Floats) -> None:
    x, y = easel.dice.between("sun x", -0.8, 0.8), easel.dice.between("sun y", 0.6, 0.85)
    easel.whole(easel.frame.circle(x, y, 0.13), easel.box.plain("sun", "yellow"))


def _cloud(easel: Easel, name: str, horizon: Floats) -> None:
    f = easel.frame.placed(easel.dice.between(f"{name} x", -1, 1), easel.dice.between(f"{name} y", 0.4, 0.9))
    puffs = f.ellipse(-0.14, 0, 0.2, 0.09), f.ellipse(0.12, 0.01, 0.2, 0.08), f.ellipse(0, 0.06, 0.13, 0.11)
    easel.whole(union(*puffs), easel.box.plain("cloud", "white", pale=0.4), rim=0.1)


def _hill(easel: Easel, name: str, horizon: Floats) -> None:
    f, x = easel.frame, easel.dice.between("hill x", -1, 1)
    hill = intersection(f.ellipse(x, horizon, 0.8, 0.28), (horizon - f.y) / f.pixel)
    easel.whole(hill, easel.box.plain("hill", "green", "grey", pale=0.25), rim=0.1)


def _sea(easel: Easel, name: str, horizon: Floats) -> None:
    easel.whole(easel.frame.box(0, horizon - 0.09, 2, 0.09), easel.box.plain("sea", "blue"))


def _lane(easel: Easel, name: str, horizon: Floats) -> None:
    along = (easel.frame.x - easel.dice.between("lane", 0, 0.6)) / np.float32(0.6)
    dash = replace(easel.frame, x=along - np.floor(along)).box(0.5, horizon - 0.62, 0.27, 0.025)
    easel.whole(dash, easel.box.plain("lane", "white"))


def _picture(easel: Easel, name: str, horizon: Floats) -> None:
    x, y = easel.dice.between("picture x", -0.8, 0.8), horizon + easel.dice.between("picture y", 0.35, 0.55)
    f = easel.frame.placed(x, y)
    easel.whole(f.box(0, 0, 0.22, 0.17), easel.box.plain("picture frame", "brown", "black", "white"), rim=0.3)
    easel.whole(f.box(0, 0, 0.17, 0.12), easel.box.plain("picture", *PALETTE, pale=0.3), rim=0.3)


def _ball(easel: Easel, name: str) -> None:
    cloth = easel.box.cloth(name, easel.frame, "red", "blue", "yellow", "white", period=0.8)
    easel.whole(easel.frame.circle(0, 0, 0.8), cloth, rim=0.3)


def _crate(easel: Easel, name: str) -> None:
    cloth = easel.box.cloth(name, easel.frame, "brown", "orange", "grey", period=0.9)
    easel.whole(easel.frame.box(0, 0, 0.8, 0.7), cloth, rim=0.3)


def _bush(easel: Easel, name: str) -> None:
    f = easel.frame
    leaves = union(f.circle(-0.6, 0, 0.6), f.circle(0.6, 0, 0.6), f.circle(0, 0.4, 0.75))
    easel.whole(leaves, easel.box.plain(name, "green"), rim=0.3)


@dataclass(frozen=True)
class Decor:
    """Something that belongs to some places: what it is, where, in which share of the images, and how it is painted."""

    thing: str
    places: tuple[str, ...]
    chance: float
    paint: Callable[[Easel, str, Floats], None]


OUTDOORS = ("beach", "meadow", "sea", "sky", "snowfield", "street")
DECOR = {
    "sun": Decor("sun", ("beach", "meadow", "sea", "sky", "street"), 0.4, _sun),
    "a cloud": Decor("cloud", OUTDOORS, 0.6, _cloud),
    "another cloud": Decor("cloud", OUTDOORS, 0.6, _cloud),
    "hill": Decor("hill", ("beach", "meadow", "snowfield"), 1.0, _hill),
    "sea": Decor("water", ("beach",), 1.0, _sea),
    "lane": Decor("road", ("street",), 1.0, _lane),
    "picture": Decor("picture", ("room",), 0.7, _picture),
}
CLUTTER = {"ball": _ball, "crate": _crate, "bush": _bush}
