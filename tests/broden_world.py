"""A Broden directory of three small images, and hands to change it with."""

import csv

import numpy as np
import torch
from PIL import Image

from interp_plugins.foundation.concepts import Concept
from interp_plugins.sources import broden

CONCEPTS = (
    Concept(1, "red", "color"),
    Concept(2, "car", "object"),
    Concept(3, "tree", "object"),
    Concept(4, "wheel", "part"),
    Concept(5, "street", "scene"),
)


def write(folder):
    """Three images of 8 x 8: a red car with a wheel in a street, a tree, and a street alone."""
    blank = np.zeros((3, 2, 8, 8), np.int16)
    color, things, part, scene = blank.copy(), blank.copy(), blank.copy(), blank.copy()
    color[0, 0, :4] = 1
    things[0, 0, :4], things[1, 0, :, 4:] = 2, 3
    part[0, 0, 2:4], part[0, 1, 2:4, :4] = 4, 4
    scene[[0, 2]] = 5
    images = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 3, 8, 8) * 40
    masks = {"color": color, "object": things, "part": part, "scene": scene}
    return broden.write(folder, images, masks, CONCEPTS, ("a", "b", "c"), min_frequency=0, min_coverage=0)


def table(folder, name):
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


def put(folder, name, rows):
    with (folder / name).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def change(folder, name, line, /, **values):
    """Give one row of a table other values."""
    rows = table(folder, name)
    rows[line] |= {column: str(value) for column, value in values.items()}
    put(folder, name, rows)


def put_mask(path, numbers):
    numbers = np.asarray(numbers)
    Image.fromarray(np.stack([numbers % 256, numbers // 256, 0 * numbers], -1).astype(np.uint8)).save(path)
