"""Pictures and masks out of files. What is wrong with a file is said with its name."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

PICTURES = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MASKS = ("PNG",)
BLUE = 1 << 16  # numbers that masks store stay below it

Numbers = NDArray[np.integer]
Shape = tuple[int, int]  # height, width


def rgb(path: Path, shape: Shape | None = None) -> NDArray[np.uint8]:
    """An image, (h, w, 3).

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It cannot be read, or is of another shape than it should be.
    """
    return np.array(picture(path, "image", PICTURES, shape).convert("RGB"))


def colours(path: Path, shape: Shape) -> NDArray[np.uint32]:
    """The colours of a mask, red + 256 * green + 65 536 * blue, (h, w).

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It cannot be read, or is of another shape.
    """
    return _colours(picture(path, "mask", MASKS, shape))


def red_green(path: Path, shape: Shape) -> NDArray[np.uint32]:
    """The numbers of a mask of Broden, red + 256 * green, (h, w).

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It cannot be read, is of another shape, or has a pixel with blue.
    """
    return _red_green(picture(path, "mask", MASKS, shape), path)


def numbers(path: Path, shape: Shape) -> Numbers:
    """The numbers of a mask: grey, or the index into a palette, or red + 256 * green, (h, w).

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It cannot be read, is of another shape, or has a pixel with blue.
    """
    mask = picture(path, "mask", MASKS, shape)
    if mask.mode in ("RGB", "RGBA"):
        return _red_green(mask, path)
    if mask.mode in ("LA", "PA"):
        mask = mask.getchannel(0)
    return np.asarray(mask).astype(np.uint16)


def picture(path: Path, what: str, formats: tuple[str, ...], shape: Shape | None = None) -> Image.Image:
    """A decoded picture.

    Args:
        path: Its file.
        what: What messages call it: "image", "mask".
        formats: Pillow's names of the formats it may have.
        shape: What it must have, or None.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It cannot be read, or is of another shape.
    """
    with _named(what, path):
        image = Image.open(BytesIO(path.read_bytes()), formats=formats)
    if shape is not None and image.size != shape[::-1]:
        raise ValueError(
            f"expected the {what} {path} to be {shape[0]} x {shape[1]} (height x width), "
            f"got {image.size[1]} x {image.size[0]}"
        )
    with _named(what, path):
        image.load()
    return image


def shape(path: Path) -> Shape:
    """Height and width of an image, without decoding it.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It cannot be read.
    """
    with _named("image", path), Image.open(path, formats=PICTURES) as image:
        return image.size[1], image.size[0]


def content(path: Path, what: str) -> bytes:
    """A file's bytes.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It cannot be read.
    """
    with _named(what, path):
        return path.read_bytes()


def is_inside(name: str) -> bool:
    """Whether a relative path stays in its folder by its spelling, on any system."""
    steps = name.replace("\\", "/").split("/")
    return bool(steps[0]) and steps[0][1:2] != ":" and ".." not in steps


def inside(folder: Path, name: str) -> Path:
    """The path of a folder's file.

    Raises:
        ValueError: A link leads out of the folder.
    """
    path = os.path.join(folder, name)
    # Links among the folders are looked up once for each folder; a file costs one question to the disk.
    target = os.path.realpath(path) if os.path.islink(path) else os.path.join(_real(os.path.dirname(path)), "")
    if not target.startswith(os.path.join(_real(str(folder)), "")):
        raise ValueError(
            f"expected a file inside {folder}, got {name!r}, which a link leads to {os.path.realpath(path)}"
        )
    return Path(path)


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def _colours(mask: Image.Image) -> NDArray[np.uint32]:
    # Pillow keeps a pixel of RGB in four bytes, which are one little-endian number with a filled last byte.
    pixels = (mask if mask.mode == "RGB" else mask.convert("RGB")).tobytes("raw", "RGBX")
    return np.frombuffer(pixels, "<u4").reshape(mask.size[::-1]) & np.uint32(0xFFFFFF)


def _red_green(mask: Image.Image, path: Path) -> NDArray[np.uint32]:
    stored = _colours(mask)
    if stored.max() >= BLUE:
        raise ValueError(
            f"expected numbers as red + 256 * green in the mask {path}, got a pixel with blue in it; grey and coloured "
            "masks are for folders with a labels.csv"
        )
    return stored


@contextmanager
def _named(what: str, path: Path) -> Iterator[None]:
    """Say which file could not be read."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"no {what} {path}") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        # Pillow's own words for this hold an address in memory, another one each time.
        reason = "not in a format it may have" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"cannot read the {what} {path} ({reason}); repair it") from error
