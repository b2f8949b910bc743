"""What do a network's neurons mean, do they still mean it under attack, and which of them misread one image?

python examples/neurons_under_attack.py
python examples/neurons_under_attack.py --out pictures
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from interp_plugins.attacks import EnsembleOptimization, LeastLikely
from interp_plugins.demo.networks import fresh, train
from interp_plugins.foundation.taxonomy import similarity
from interp_plugins.neurons.averages import average
from interp_plugins.neurons.histograms import histogram, select
from interp_plugins.neurons.survey import Survey, survey_of
from interp_plugins.neurons.trace import DecisionTrace, Trace
from interp_plugins.report import meaning, tracing
from interp_plugins.sources import scenes, wordnet

NUMBERS = {"training": 640, "images": 320, "attacked": 24, "targets": 4, "size": 32, "steps": 20}


@dataclass(frozen=True)
class Result:
    """What was measured, and the decision that was traced."""

    survey: Survey
    trace: Trace


# [main]
def main(argv: Sequence[str] | None = None) -> Result:
    """Train a network on drawn scenes, attack it, and ask its neurons."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="a folder for the pictures; without it there are none")
    for name, number in NUMBERS.items():
        parser.add_argument(f"--{name}", type=int, default=number, help=f"{number} if not given")
    given = parser.parse_args(argv)
    seen, unseen = scenes.draw(given.training, given.size), scenes.draw(given.images, given.size, start=given.training)
    model = fresh(8, len(seen.classes), 16, seed=0)
    tuple(track(train(model, seen.images, seen.labels, epochs=6, seed=0), "training", total=6))
    images, labels = unseen.images.float() / 255, unseen.labels
    some = slice(given.attacked)
    result = EnsembleOptimization(steps=given.steps).run(
        [model], images[some], LeastLikely(given.targets), labels=labels[some]
    )
    attacked, targets = result.images, result.targets
    # [meaning]
    alike = similarity(wordnet.packaged().distances(unseen.wnids), sigma=2.0)
    found = survey_of(model, images, labels, alike, attacked, targets, share=0.05)
    for name, layer in found.layers.items():
        measures = {"LC": layer.lc.debiased, "LC_adv": layer.lc_adv.debiased, "CS1": layer.cs1, "CS2": layer.cs2}
        print(f"{name:<18}", *(f"{word} {average(values).mean:.2f}" for word, values in measures.items()))
    r1, r2 = average(found.ratios.r1), average(found.ratios.r2)
    print(f"r1 {r1.mean:.2f}, r2 {r2.mean:.2f} over {r1.defined} attacked images")
    # [why]
    last, units = list(found.layers.items())[-1]
    stands_for = histogram(select(units.real.ids, dead=units.real.dead), labels, len(unseen.classes))
    number = int(result.fooled[:, 0, 0].int().argmax())  # the first image that the attack turned
    told = DecisionTrace(units=4)(model, last, stands_for, alike, images[number], attacked[number, 0])
    for title, decision in (("clean", told.clean), ("attacked", told.attacked)):
        print(f"{title}: {unseen.classes[decision.predicted]}, its units contradict that by {decision.conflict:.2f}")
        for unit in decision.units:
            stands = ", ".join(f"{unseen.classes[label]} {share:.0%}" for label, share in unit.meaning)
            print(f"  unit {unit.number}: {unit.influence:+.2f}, stands for {stands or 'nothing'}")
    # [pictures]
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        strips = {unit: [*unseen.images[units.real.ids[unit, :6]].numpy()] for unit in told.units}
        pair = [(picture * 255).round().byte().numpy() for picture in (images[number], attacked[number, 0])]
        truth, aim = int(labels[number]), int(targets[number, 0])
        picture = tracing.draw(told, pair, strips, names=unseen.classes, truth=truth, target=aim)
        (given.out / "trace.png").write_bytes(picture)
        ratios = meaning.ratios(found.ratios.r1, found.ratios.r2, alt="r1 and r2")
        (given.out / "ratios.png").write_bytes(ratios.light)
    # [end]
    return Result(found, told)


if __name__ == "__main__":
    main()
