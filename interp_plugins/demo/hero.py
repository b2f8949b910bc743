"""One picture that says what the project is about: an image, a change, and what the networks make of them."""

from io import BytesIO

from PIL import Image

from interp_plugins.report import example


def draw(shown: example.Example) -> bytes:
    """Return the picture as a PNG of about 100 KB, 1440 pixels wide."""
    # A palette of 256 colours is enough for drawings and a third of the bytes.
    small = BytesIO()
    picture = Image.open(BytesIO(example.draw(shown))).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(small, format="PNG", optimize=True)
    return small.getvalue()
