"""The demo's lessons: what becomes of one network that is taught to see the same in a picture and its attacked copy."""

from interp_plugins.demo.numbers import rows
from interp_plugins.demo.remedies import AS_BEFORE, Pupil
from interp_plugins.demo.study import Outcome
from interp_plugins.report.page import Section, Table, Text

EPSILON = "FGSM away from the predicted class, epsilon = {:g}/255"


def section(outcome: Outcome) -> Section:
    """One network after more lessons of three kinds: how often it is right, and what its units mean."""
    settings, (before, *taught) = outcome.settings, outcome.pupils
    attack = EPSILON.format(255 * settings.epsilon)
    best = max(taught, key=lambda pupil: pupil.adversarial.correct)
    lead = (
        f"The network of {outcome.looked_into.name} learned for {settings.more} more rounds from {settings.again} of "
        f"its pictures, in three ways. Taught as before, it names {before.adversarial.value:.0%} of held-out pictures "
        f"rightly when one step attacks them ({attack}); taught with attacked pictures and “{best.remedy}”, "
        f"{best.adversarial.value:.0%}."
    )
    found = rows(outcome)
    names = [pupil.remedy for pupil in outcome.pupils]
    right = Table(
        columns=("taught", "right on clean pictures", "right on attacked ones"),
        rows=tuple((name, *(found[f"{name}/accuracy/{kind}"] for kind in ("clean", "attacked"))) for name in names),
    )
    units = Table(
        columns=("taught", *before.means, "detectors (concepts), clean", "attacked"),
        rows=tuple((pupil.remedy, *_cells(pupil)) for pupil in outcome.pupils),
        caption=f"Means over the units of the last convolution. LC to r2: under the pictures of the set, which attack "
        f"the network as it was before the lessons. Detectors: under the step of {attack}.",
    )
    note = Text(
        "Consistent loss: what the layer sees in a picture and in its attacked copy is brought together, pair by pair. "
        "Adapted domains: covariances and means over a batch are (CORAL, and the difference of means). Both also see "
        f"half of the pictures attacked, and “{AS_BEFORE}” none: one seed of one small network is no proof of which "
        "part does what."
    )
    return Section("Can a network be taught to keep its meaning?", lead, (right, units, note))


def _cells(pupil: Pupil) -> tuple[str, ...]:
    means = (f"{mean.mean:.2f}" if mean.defined else "none" for mean in pupil.means.values())
    detected = (f"{units} ({concepts})" for units, concepts in zip(pupil.detectors, pupil.unique, strict=True))
    return (*means, *detected)
