"""One adversarial example as a picture: the image, what was changed, and what the networks make of both."""

from dataclasses import dataclass
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interp_plugins.report.figures import LIGHT
from interp_plugins.report.page import Verdict
from interp_plugins.report.png import Bytes, difference

GAIN = 10
PAPER = "#fbfaf8"
TONES = {"truth": "#0f766e", "target": "#c2410c", "other": "#7a6a2f"}
WIDE = 27  # letters of a bold word that fit on a verdict's line; longer ones are written smaller
ROOMY = 4  # verdicts the picture has room for; more make it higher


@dataclass(frozen=True)
class Example:
    """One image, one target, and what the networks say before and after."""

    image: Bytes  # (3, h, w)
    adversarial: Bytes  # (3, h, w)
    truth: str
    target: str
    rmse: float
    linf: int
    before: tuple[Verdict, ...]
    after: tuple[Verdict, ...]

    @property
    def change(self) -> Bytes:
        """What was changed, ten times, around middle grey."""
        return difference(self.image, self.adversarial, GAIN)


def draw(example: Example) -> bytes:
    """Return the picture as a PNG, 1440 pixels wide."""
    more = max(len(example.before) / ROOMY, 1.0)
    canvas = Figure(figsize=(12, 6.2 + 1.7 * (more - 1)), dpi=120, facecolor=PAPER)
    grid = canvas.add_gridspec(
        2, 3, height_ratios=(3.1, 1.35 * more), left=0.025, right=0.975, top=0.93, bottom=0.03, wspace=0.09, hspace=0.06
    )
    titles = ("Image", f"Change, {GAIN} times", "Adversarial image")
    for column, (title, picture) in enumerate(
        zip(titles, (example.image, example.change, example.adversarial), strict=True)
    ):
        _show(canvas.add_subplot(grid[0, column]), title, picture)
    _say(canvas.add_subplot(grid[1, 0]), example.before)
    _say(canvas.add_subplot(grid[1, 2]), example.after)
    middle = canvas.add_subplot(grid[1, 1])
    middle.axis("off")
    middle.set_ylim(more, 0)
    words = f"{example.rmse:.1f} of 255 grey levels, root mean square\nat most {example.linf}; grey is no change"
    middle.text(
        0.5, 0.1, f"aimed at “{example.target}”", ha="center", fontsize=12, color=TONES["target"], fontweight="bold"
    )
    middle.text(0.5, 0.22, words, ha="center", va="top", fontsize=11.5, color=LIGHT.soft, linespacing=1.6)
    file = BytesIO()
    canvas.savefig(file, format="png", facecolor=PAPER)
    return file.getvalue()


def _show(axes: Axes, title: str, picture: Bytes) -> None:
    axes.imshow(picture.transpose(1, 2, 0), interpolation="nearest", aspect="equal", extent=(0, 1, 0, 1))
    axes.set_title(title, fontsize=13, fontweight="bold", color=LIGHT.ink, loc="center", pad=8)
    axes.axis("off")


def _say(axes: Axes, verdicts: tuple[Verdict, ...]) -> None:
    axes.axis("off")
    axes.set_xlim(0, 1)
    axes.set_ylim(len(verdicts), 0)
    for line, verdict in enumerate(verdicts):
        colour = TONES[verdict.tone]
        small = min(1.0, WIDE / (0.77 * len(verdict.who) + len(verdict.says) + 1))
        axes.text(0.02, line + 0.45, verdict.who, ha="left", va="center", fontsize=11.5 * small, color=LIGHT.soft)
        axes.text(
            0.84,
            line + 0.45,
            verdict.says,
            ha="right",
            va="center",
            fontsize=12 * small,
            color=colour,
            fontweight="bold",
        )
        axes.text(
            0.98, line + 0.45, f"{verdict.confidence:.0%}", ha="right", va="center", fontsize=11.5, color=LIGHT.soft
        )
        axes.plot([0.02, 0.98], [line + 0.86] * 2, color=LIGHT.line, linewidth=3, solid_capstyle="butt")
        end = 0.02 + 0.96 * verdict.confidence
        axes.plot([0.02, end], [line + 0.86] * 2, color=colour, linewidth=3, solid_capstyle="butt")
