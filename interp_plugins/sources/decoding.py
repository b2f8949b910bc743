"""Pictures and masks from the files of one folder. What is wrong with a file is said with its name."""

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
from PIL import Image

PICTURES = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MASKS = ("PNG",)
BLUE = 1 << 16  # red + 256 * green stays below it

Numbers = NDArray[np.uint32]


def rgb(folder: Path, name: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """An image of a folder, (h, w, 3).

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It lies outside the folder, cannot be read, or is of another height and width than `shape`.
    """
    return np.array(picture(folder, name, "image", PICTURES, shape).convert("RGB"))


def red_green(folder: Path, name: str, shape: tuple[int, int]) -> Numbers:
    """The numbers of a mask of a folder, red + 256 * green, (h, w).

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It lies outside the folder, cannot be read, is of another height and width than `shape`, or has
            a pixel with blue.
    """
    mask = picture(folder, name, "mask", MASKS, shape)
    if mask.mode != "RGB":  # what saves space by a palette of colours still means the colours
        mask = mask.convert("RGB")
    # Pillow keeps a pixel of RGB in four bytes, which as one little-endian number are what Broden stores.
    numbers = np.frombuffer(mask.tobytes("raw", "RGBX"), "<u4").reshape(shape) & 0xFFFFFF
    if numbers.max() >= BLUE:
        raise ValueError(
            f"expected numbers as red + 256 * green in the mask {folder / name}, got a pixel with blue in it; "
            "grey and coloured pictures have to be converted first"
        )
    return numbers


def picture(
    folder: Path, name: str, what: str, formats: tuple[str, ...], shape: tuple[int, int] | None = None
) -> Image.Image:
    """A decoded picture of a folder.

    Args:
        folder: Where it lies.
        name: Its relative POSIX path.
        what: What messages call it: "image", "mask".
        formats: Pillow's names of the formats it may have.
        shape: Height and width it must have, or None.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It lies outside the folder, cannot be read, or is of another size.
    """
    path = inside(folder, name)
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


def content(folder: Path, name: str, what: str) -> bytes:
    """A file's bytes.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: It lies outside the folder, or cannot be read.
    """
    path = inside(folder, name)
    with _named(what, path):
        return path.read_bytes()


def is_inside(name: str) -> bool:
    """Whether a relative path stays in its folder by its spelling alone, on any system."""
    steps = name.replace("\\", "/").split("/")
    return bool(steps[0]) and steps[0][1:2] != ":" and ".." not in steps


def inside(folder: Path, name: str) -> Path:
    """The path of a folder's file.

    Raises:
        ValueError: It lies outside the folder, by its spelling or by a link.
    """
    if not is_inside(name):
        raise ValueError(f"expected a file inside {folder}, got {name!r}")
    path = os.path.join(folder, name)
    # Links among the folders are looked up once for each folder; a file costs one question to the disk.
    target = os.path.realpath(path) if os.path.islink(path) else os.path.join(_real(os.path.dirname(path)), "")
    if not target.startswith(os.path.join(_real(str(folder)), "")):
        raise ValueError(f"expected a file inside {folder}, got {name!r}, a link to {os.path.realpath(path)}")
    return Path(path)


@lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


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
        raise ValueError(f"cannot read the {what} {path} ({error}); repair it") from error
