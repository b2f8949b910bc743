"""The sixteen things of the drawn world, each a few parts in a frame of its own: x and y from -1 to 1, y up.

Every function paints one thing for all images of a batch. Varied proportions come from the images' dice.
"""

from collections.abc import Callable
from dataclasses import dataclass

from interp_plugins.sources.brush import intersection, only, union
from interp_plugins.sources.world import Easel

BRIGHT = ("red", "blue", "yellow", "green", "orange", "purple", "pink", "white")
WALLS = ("white", "yellow", "red", "brown", "grey", "pink")
GLASS = ("blue", "yellow", "white")


def _wheels(easel: Easel, y: float, radius: float, *places: float) -> None:
    tyre, hub = easel.box.plain("tyre", "black"), easel.box.plain("hub", "grey", "white")
    for x in places:
        easel.part("wheel", easel.frame.circle(x, y, radius), tyre)
        easel.detail("hub", easel.frame.circle(x, y, radius * 0.45), hub)


def _eye(easel: Easel, x: float, y: float, radius: float) -> None:
    easel.detail("eye", easel.frame.circle(x, y, radius), easel.box.plain("eye", "white"))
    easel.detail("eye", easel.frame.circle(x, y, radius * 0.55), easel.box.plain("pupil", "black"))


def airplane(easel: Easel) -> None:
    """From the side, the near wing swept back."""
    f, box = easel.frame, easel.box
    body, wing = box.cloth("body", f, "white", "grey", "red", "blue", plain=0.7), box.plain("wing", *BRIGHT, "grey")
    easel.part("wing", f.polygon((-0.05, 0.1), (0.2, 0.1), (-0.1, 0.55), (-0.25, 0.55)), wing)
    easel.part("tail", f.polygon((-0.9, 0.65), (-0.95, 0.05), (-0.5, 0.1), (-0.72, 0.65)), wing)
    easel.part("bodywork", union(f.stroke(-0.75, 0, 0.7, 0, 0.17), f.ellipse(0.72, -0.02, 0.27, 0.15)), body)
    for x in (-0.45, -0.22, 0.01, 0.24, 0.47):
        easel.detail("porthole", f.circle(x, 0.06, 0.055), box.plain("porthole", "black", "blue"))
    easel.part("wing", f.polygon((-0.45, -0.6), (-0.25, -0.6), (0.3, -0.05), (-0.1, -0.05)), wing)


def bird(easel: Easel) -> None:
    """Standing, seen from the side."""
    f, box = easel.frame, easel.box
    plumage = box.plain("plumage", *BRIGHT, "brown", "black", "grey")
    feather = box.cloth("wing", f, *BRIGHT, "brown", "grey", plain=0.4, period=0.2)
    beak = box.plain("beak", "orange", "yellow")
    for x in (-0.08, 0.12):
        easel.part("leg", union(f.stroke(x, -0.4, x, -0.92, 0.04), f.stroke(x, -0.93, x + 0.15, -0.93, 0.035)), beak)
    easel.part("tail", f.polygon((-0.95, 0.12), (-0.9, -0.15), (-0.4, -0.2), (-0.35, 0.1)), plumage)
    easel.part("torso", f.ellipse(-0.02, -0.1, 0.58, 0.4, turn=0.14), plumage)
    easel.part("beak", f.polygon((0.7, 0.5), (0.7, 0.3), (1.0, 0.36)), beak)
    easel.part("head", f.circle(0.5, 0.42, 0.28), plumage)
    _eye(easel, 0.58, 0.48, 0.09)
    easel.part("wing", f.ellipse(-0.15, -0.05, 0.4, 0.22, turn=0.1), feather)


def butterfly(easel: Easel) -> None:
    """From above, all four wings open."""
    f, box = easel.frame, easel.box
    wing = box.cloth("wing", f, *BRIGHT, plain=0.35, period=0.26)
    spot, black = box.plain("spot", "black", "white", "yellow", "blue"), box.plain("torso", "black", "brown")
    for side in (-1, 1):
        easel.part("wing", f.ellipse(side * 0.42, -0.42, 0.36, 0.42, turn=-side * 0.3), wing)
        easel.part("wing", f.ellipse(side * 0.5, 0.32, 0.46, 0.38, turn=side * 0.35), wing)
        easel.detail("spot", f.circle(side * 0.6, 0.38, 0.13), spot)
        easel.detail("spot", f.circle(side * 0.46, -0.48, 0.1), spot)
        easel.part("antenna", f.stroke(0, 0.5, side * 0.22, 0.92, 0.03), black)
    easel.part("torso", f.stroke(0, -0.5, 0, 0.3, 0.09), black)
    easel.part("head", f.circle(0, 0.45, 0.13), black)


def car(easel: Easel) -> None:
    """From the side, facing right."""
    f, box = easel.frame, easel.box
    body, glass = box.cloth("body", f, *BRIGHT, "black", "grey", plain=0.75), box.plain("glass", *GLASS, pale=0.4)
    easel.part("roof", f.polygon((-0.75, -0.2), (0.65, -0.2), (0.3, 0.4), (-0.45, 0.4)), body)
    easel.part("window", f.polygon((-0.58, -0.08), (-0.1, -0.08), (-0.1, 0.29), (-0.38, 0.29)), glass)
    easel.part("window", f.polygon((0.02, -0.08), (0.45, -0.08), (0.22, 0.29), (0.02, 0.29)), glass)
    easel.part("bodywork", f.box(0, -0.33, 0.97, 0.24, corner=0.12), body)
    easel.detail("door", f.box(-0.02, -0.3, 0.02, 0.16), box.plain("door", "black"))
    easel.part("headlight", f.circle(0.86, -0.27, 0.09), box.plain("headlight", "yellow", "white"))
    _wheels(easel, -0.56, 0.25, -0.55, 0.55)


def chair(easel: Easel) -> None:
    """From the side and a little from above."""
    f, box = easel.frame, easel.box
    wood = box.plain("wood", "brown", "black", "white", "red", "orange")
    cushion = box.cloth("cushion", f, *BRIGHT, plain=0.4, period=0.22)
    for x in (-0.5, 0.5):
        easel.part("leg", f.box(x, -0.6, 0.07, 0.4), wood)
    for x in (-0.28, 0.28):
        easel.part("leg", f.box(x, -0.5, 0.05, 0.3), wood)
    easel.part("back rest", f.box(-0.46, 0.4, 0.1, 0.58, corner=0.05), wood)
    easel.part("back rest", f.box(-0.32, 0.5, 0.1, 0.42, corner=0.08), cushion)
    easel.part("seat", f.box(0.02, -0.16, 0.6, 0.1, corner=0.06), cushion)


def church(easel: Easel) -> None:
    """A nave with a tower, a spire and a cross."""
    f, box = easel.frame, easel.box
    wall, roof = box.cloth("wall", f, *WALLS, plain=0.7), box.plain("roof", "red", "brown", "grey", "black", "blue")
    glass, dark = box.plain("glass", *GLASS), box.plain("door", "brown", "black")
    easel.part(
        "cross",
        union(f.box(-0.5, 0.86, 0.035, 0.14), f.box(-0.5, 0.89, 0.1, 0.035)),
        box.plain("cross", "yellow", "black"),
    )
    easel.part("roof", f.polygon((-0.85, 0.1), (-0.15, 0.1), (-0.5, 0.76)), roof)
    easel.part("roof", f.polygon((-0.25, -0.28), (1.0, -0.28), (0.85, 0.15), (-0.25, 0.15)), roof)
    easel.part("facade", f.box(0.34, -0.63, 0.6, 0.37), wall)
    easel.part("tower", f.box(-0.5, -0.44, 0.28, 0.56), wall)
    for x in (0.05, 0.4, 0.75):
        easel.part("window", union(f.box(x, -0.65, 0.075, 0.13), f.circle(x, -0.52, 0.075)), glass)
    easel.part("window", f.circle(-0.5, -0.15, 0.12), glass)
    easel.part("door", union(f.box(-0.5, -0.85, 0.12, 0.15), f.circle(-0.5, -0.7, 0.12)), dark)


def fish(easel: Easel) -> None:
    """From the side, swimming to the right."""
    f, box = easel.frame, easel.box
    scales, fin = box.cloth("scales", f, *BRIGHT, "grey", plain=0.35, period=0.26), box.plain("fin", *BRIGHT)
    easel.part(
        "tail",
        union(
            f.polygon((-0.5, 0.02), (-1.0, 0.5), (-0.85, -0.02)), f.polygon((-0.85, 0.02), (-1.0, -0.5), (-0.5, -0.02))
        ),
        fin,
    )
    easel.part("fin", f.polygon((-0.4, 0.25), (0.4, 0.3), (-0.2, 0.68)), fin)
    easel.part("fin", f.polygon((-0.25, -0.62), (0.25, -0.3), (-0.15, -0.28)), fin)
    easel.part("torso", f.ellipse(0.12, 0, 0.72, 0.4), scales)
    easel.part("head", union(f.ellipse(0.6, -0.01, 0.25, 0.25)), fin)
    _eye(easel, 0.6, 0.08, 0.1)
    easel.part("fin", f.ellipse(0.1, -0.08, 0.2, 0.1, turn=0.2), fin)


def flower(easel: Easel) -> None:
    """A stem with two leaves and five to eight petals."""
    f, box = easel.frame, easel.box
    petal, green = (
        box.cloth("petal", f, *(c for c in BRIGHT if c != "green"), plain=0.7, period=0.18),
        box.plain("stem", "green"),
    )
    count = 5 + easel.dice.below("petals", 4)
    easel.part("stem", f.stroke(0, -0.97, 0, 0.3, 0.045), green)
    easel.part("leaf", f.ellipse(-0.26, -0.55, 0.28, 0.11, turn=-0.25), green)
    easel.part("leaf", f.ellipse(0.26, -0.68, 0.28, 0.11, turn=0.25), green)
    for number, turns in HALF_TANGENTS.items():
        for turn in turns:
            leaf = f.placed(0, 0.42, turn=turn).ellipse(0, 0.33, 0.17, 0.25)
            easel.part("petal", only(leaf, (count == number)[:, None, None]), petal)
    easel.part("pistil", f.circle(0, 0.42, 0.17), box.plain("pistil", "yellow", "brown", "orange", "black"))


# tan(pi k / m) for the m petals of a flower; 163 is as good as infinity, half a turn
HALF_TANGENTS = {
    5: (0.0, 0.7265, 3.0777, -3.0777, -0.7265),
    6: (0.0, 0.5774, 1.7321, 163.0, -1.7321, -0.5774),
    7: (0.0, 0.4816, 1.2540, 4.3813, -4.3813, -1.2540, -0.4816),
    8: (0.0, 0.4142, 1.0, 2.4142, 163.0, -2.4142, -1.0, -0.4142),
}


def house(easel: Easel) -> None:
    """A front with a gable roof, a door and two windows."""
    f, box = easel.frame, easel.box
    wall, roof = (
        box.cloth("wall", f, *WALLS, plain=0.6),
        box.cloth("roof", f, "red", "brown", "grey", "blue", plain=0.6, period=0.2),
    )
    easel.part("chimney", f.box(0.45, 0.6, 0.11, 0.3), box.plain("chimney", "red", "brown", "grey"))
    easel.part("facade", f.box(0, -0.5, 0.75, 0.5), wall)
    easel.part("roof", f.polygon((-0.98, -0.05), (0.98, -0.05), (0, 0.8)), roof)
    glass, trim = box.plain("glass", *GLASS), box.plain("trim", "white", "brown", "black")
    for x in (-0.43, 0.43):
        easel.part("window", f.box(x, -0.4, 0.19, 0.19), trim)
        easel.part("window", f.box(x, -0.4, 0.14, 0.14), glass)
        easel.part("window", union(f.box(x, -0.4, 0.02, 0.16), f.box(x, -0.4, 0.16, 0.02)), trim)
    easel.part("door", f.box(0, -0.72, 0.15, 0.28), box.plain("door", "brown", "red", "blue", "green", "black"))


def ladybug(easel: Easel) -> None:
    """From above: six legs, a head, two wing cases with spots."""
    f, box = easel.frame, easel.box
    black, case = box.plain("black", "black"), box.plain("case", "red", "orange", "yellow")
    for side in (-1, 1):
        for y, end in ((0.3, 0.55), (-0.1, -0.1), (-0.5, -0.75)):
            easel.part("leg", f.stroke(side * 0.4, y, side * 0.9, end, 0.05), black)
        easel.part("antenna", f.stroke(0, 0.7, side * 0.28, 0.97, 0.035), black)
    easel.part("head", f.ellipse(0, 0.58, 0.34, 0.28), black)
    for side in (-1, 1):
        easel.detail("eye", f.circle(side * 0.18, 0.68, 0.07), box.plain("eye", "white"))
    easel.part("wing", f.ellipse(0, -0.15, 0.66, 0.7), case)
    easel.detail("spot", f.box(0, -0.15, 0.025, 0.7), black)
    for x, y in ((0.3, 0.2), (0.38, -0.25), (0.22, -0.6)):
        for side in (-1, 1):
            easel.detail("spot", f.circle(side * x, y, easel.dice.between("spots", 0.09, 0.15)), black)


def lighthouse(easel: Easel) -> None:
    """A tapering tower with a gallery and a lantern."""
    f, box = easel.frame, easel.box
    tower = box.cloth("tower", f, "red", "white", "blue", "yellow", "black", plain=0.3, period=0.45)
    roof, dark = box.plain("roof", "red", "black", "grey", "blue"), box.plain("dark", "black", "grey", "brown")
    easel.part("tower", f.polygon((-0.42, -1), (0.42, -1), (0.22, 0.4), (-0.22, 0.4)), tower)
    easel.part("lantern", f.box(0, 0.57, 0.16, 0.14), box.plain("lantern", "yellow", "white"))
    easel.part("gallery", f.box(0, 0.42, 0.33, 0.055), dark)
    easel.part("roof", f.polygon((-0.25, 0.68), (0.25, 0.68), (0, 0.98)), roof)
    easel.part("door", f.box(0, -0.84, 0.11, 0.16), dark)
    for y in (-0.35, 0.1):
        easel.part("window", f.box(0, y, 0.06, 0.09), box.plain("glass", "black", "blue"))


def mushroom(easel: Easel) -> None:
    """A stem under a cap, most caps with spots."""
    f, box = easel.frame, easel.box
    cap = box.plain("cap", "red", "brown", "orange", "purple", "white", "yellow")
    spots = easel.dice.happens("spots", 0.7)
    easel.part(
        "stem",
        f.polygon((-0.26, -0.97), (0.26, -0.97), (0.17, 0.2), (-0.17, 0.2)),
        box.plain("stem", "white", "yellow", pale=0.3),
    )
    dome = f.ellipse(0, -0.02, 0.9, 0.85)
    easel.part("cap", intersection(dome, -f.y / f.pixel), cap)
    for x, y, r in ((-0.5, 0.25, 0.13), (0.05, 0.5, 0.16), (0.52, 0.22, 0.12), (-0.05, 0.14, 0.09)):
        easel.detail("spot", only(f.circle(x, y, r), spots), box.plain("spot", "white", "yellow"))


def sailboat(easel: Easel) -> None:
    """A hull, a mast, two sails and a flag."""
    f, box = easel.frame, easel.box
    sail, hull = box.cloth("sail", f, *BRIGHT, plain=0.4), box.plain("hull", *BRIGHT, "brown", "black")
    easel.part("mast", f.box(0, 0.15, 0.035, 0.8), box.plain("mast", "brown", "black", "white"))
    easel.part("sail", f.polygon((0.06, -0.48), (0.78, -0.48), (0.06, 0.82)), sail)
    easel.part("sail", f.polygon((-0.06, 0.6), (-0.62, -0.48), (-0.06, -0.48)), sail)
    easel.part("flag", f.polygon((0, 0.82), (0, 0.98), (-0.3, 0.9)), box.plain("flag", *BRIGHT))
    easel.part("hull", f.polygon((-0.9, -0.58), (-0.6, -0.98), (0.6, -0.98), (0.95, -0.58)), hull)


def table_lamp(easel: Easel) -> None:
    """A foot, a stem and a shade with a glimpse of the bulb."""
    f, box = easel.frame, easel.box
    metal = box.plain("metal", "grey", "black", "brown", "yellow", "blue")
    shade = box.cloth("shade", f, *BRIGHT, plain=0.4, period=0.26)
    easel.part("stem", f.box(0, -0.35, 0.06, 0.55), metal)
    easel.part("foot", f.ellipse(0, -0.88, 0.42, 0.12), metal)
    easel.part("bulb", f.circle(0, 0.08, 0.15), box.plain("bulb", "yellow", "white", pale=0.3))
    easel.part("shade", f.polygon((-0.68, 0.1), (0.68, 0.1), (0.36, 0.95), (-0.36, 0.95)), shade)


def tree(easel: Easel) -> None:
    """A trunk under a round crown or a fir's three skirts; some bear fruit."""
    f, box = easel.frame, easel.box
    leaf, fir = box.plain("crown", "green", "green", "orange", "yellow", "red"), easel.dice.happens("fir", 0.45)
    fruit = easel.dice.happens("fruit", 0.4) & ~fir
    easel.part("trunk", f.polygon((-0.14, -1), (0.14, -1), (0.09, 0), (-0.09, 0)), box.plain("trunk", "brown"))
    round_crown = union(
        f.circle(-0.36, 0.1, 0.42), f.circle(0.36, 0.12, 0.42), f.circle(0, 0.48, 0.48), f.circle(0, 0.05, 0.4)
    )
    easel.part("crown", only(round_crown, ~fir), leaf)
    for low, half, top in ((-0.6, 0.7, 0.2), (-0.2, 0.56, 0.6), (0.2, 0.42, 0.98)):
        easel.part("crown", only(f.polygon((-half, low), (half, low), (0, top)), fir), box.plain("fir", "green"))
    for x, y in ((-0.4, 0.1), (0.1, 0.5), (0.42, 0.2), (-0.05, 0.0)):
        easel.detail("spot", only(f.circle(x, y, 0.085), fruit), box.plain("fruit", "red", "yellow"))


def truck(easel: Easel) -> None:
    """From the side, a container behind the cab."""
    f, box = easel.frame, easel.box
    load, cab = box.cloth("load", f, *BRIGHT, "grey", plain=0.4), box.plain("cab", *BRIGHT)
    easel.part("bodywork", f.box(0, -0.52, 0.95, 0.09), box.plain("chassis", "black", "grey"))
    easel.part("container", f.box(-0.32, 0.08, 0.66, 0.52), load)
    easel.part("bodywork", f.box(0.69, -0.14, 0.28, 0.4, corner=0.08), cab)
    easel.part("window", f.box(0.76, 0.02, 0.16, 0.14), box.plain("glass", *GLASS, pale=0.4))
    easel.part("headlight", f.circle(0.91, -0.36, 0.07), box.plain("headlight", "yellow", "white"))
    _wheels(easel, -0.64, 0.22, -0.68, -0.2, 0.62)


@dataclass(frozen=True)
class Habit:
    """How a thing is painted and where it is at home.

    Args:
        paint: Paints it.
        places: Scenes it is usually in; in one image of eight it is somewhere else.
        stands: On the ground, or anywhere in the air or water.
        tilt: The largest half tangent of its turn: 0.1 is 11 degrees.
    """

    paint: Callable[[Easel], None]
    places: tuple[str, ...]
    stands: bool = True
    tilt: float = 0.04


HABITS = {
    "airplane": Habit(airplane, ("sky", "sky", "sea", "meadow", "snowfield"), stands=False, tilt=0.16),
    "bird": Habit(bird, ("meadow", "beach", "street", "snowfield", "sea"), tilt=0.1),
    "butterfly": Habit(butterfly, ("meadow", "sky", "room", "beach"), stands=False, tilt=0.45),
    "car": Habit(car, ("street", "street", "meadow", "snowfield", "beach")),
    "chair": Habit(chair, ("room", "room", "meadow", "beach", "street")),
    "church": Habit(church, ("street", "meadow", "snowfield")),
    "fish": Habit(fish, ("underwater", "underwater", "sea", "room"), stands=False, tilt=0.2),
    "flower": Habit(flower, ("meadow", "meadow", "room", "street", "beach"), tilt=0.08),
    "house": Habit(house, ("street", "meadow", "snowfield", "beach")),
    "ladybug": Habit(ladybug, ("meadow", "room", "street", "beach"), stands=False, tilt=0.8),
    "lighthouse": Habit(lighthouse, ("sea", "beach", "beach", "snowfield", "street")),
    "mushroom": Habit(mushroom, ("meadow", "meadow", "snowfield", "room"), tilt=0.08),
    "sailboat": Habit(sailboat, ("sea", "sea", "beach", "underwater"), tilt=0.1),
    "table lamp": Habit(table_lamp, ("room", "room", "street", "meadow")),
    "tree": Habit(tree, ("meadow", "street", "snowfield", "beach")),
    "truck": Habit(truck, ("street", "street", "meadow", "snowfield", "beach")),
}
