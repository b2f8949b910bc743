"""The attacks that are shown as pictures, chosen by a rule and not by taste."""

from collections.abc import Iterator

import numpy as np

from interp_plugins.demo.study import Outcome, Probabilities
from interp_plugins.report.example import GAIN, Example
from interp_plugins.report.page import Panel, Strip, Verdict
from interp_plugins.report.png import encode

RULE = (
    "Shown are the first images that all four networks name rightly, each of another class, with the first target "
    "that all attacked networks take it for."
)


def places(outcome: Outcome, most: int) -> list[tuple[int, int]]:
    """Return up to `most` pairs of image and target by the rule; fewer where the attack did not succeed so often."""
    found: list[tuple[int, int]] = []
    shown: set[int] = set()
    all_right = (outcome.clean_says.argmax(2) == outcome.labels[:, None]).all(1)
    success = outcome.all_fooled
    for i in np.flatnonzero(all_right & np.logical_or.reduce(success, axis=1)):
        if outcome.labels[i] not in shown and len(found) < most:
            shown.add(int(outcome.labels[i]))
            found.append((int(i), int(success[i].argmax())))
    return found


def chosen(outcome: Outcome, most: int) -> list[Example]:
    """Return these examples, ready to be drawn."""
    return [_example(outcome, i, t) for i, t in places(outcome, most)]


def strip(example: Example, caption: str = "") -> Strip:
    """Return an example as panels: image, change, adversarial image."""
    truth, target = example.truth, example.target
    return Strip(
        panels=(
            Panel(
                title="Image",
                picture=encode(example.image),
                alt=f"A drawing of a {truth}.",
                verdicts=example.before,
            ),
            Panel(
                title=f"Change, {GAIN} times",
                picture=encode(example.change),
                alt="Coloured noise on middle grey: what the attack changed.",
                note=f"Aimed at “{target}”. Grey is no change. "
                f"A pixel changes by {example.rmse:.1f} of 255 grey levels (root mean square), "
                f"by {example.linf} at most.",
            ),
            Panel(
                title="Adversarial image",
                picture=encode(example.adversarial),
                alt=f"The same drawing of a {truth} with the change added.",
                verdicts=example.after,
            ),
        ),
        caption=caption,
    )


def _example(outcome: Outcome, i: int, t: int) -> Example:
    truth, target = int(outcome.labels[i]), int(outcome.targets[i, t])
    return Example(
        image=outcome.images[i],
        adversarial=outcome.adversarial[i, t],
        truth=outcome.classes[truth],
        target=outcome.classes[target],
        rmse=float(outcome.rmse[i, t]),
        linf=int(outcome.linf[i, t]),
        before=tuple(_verdicts(outcome, outcome.clean_says[i], truth, target)),
        after=tuple(_verdicts(outcome, outcome.says[i, t], truth, target)),
    )


def _verdicts(outcome: Outcome, says: Probabilities, truth: int, target: int) -> Iterator[Verdict]:
    for network, probabilities in zip(outcome.networks, says, strict=True):
        k = int(probabilities.argmax())
        yield Verdict(
            who=network.name if network.attacked else f"{network.name}, not attacked",
            says=outcome.classes[k],
            confidence=float(probabilities[k]),
            tone="truth" if k == truth else "target" if k == target else "other",
        )
