"""The page about the study. A section is a function that takes the outcome and returns a `Section`.

To add one, write the function and put it into `SECTIONS`.
"""

import shlex
from collections.abc import Callable

from interp_plugins.demo import dissection, neurons, training
from interp_plugins.demo.examples import RULE, chosen, places, strip
from interp_plugins.demo.numbers import POPULATIONS, results, rows
from interp_plugins.demo.study import Outcome
from interp_plugins.report import figures
from interp_plugins.report.page import Code, Piece, Section, Table, Text, render
from interp_plugins.report.results import Row

BAND = (0.85, 0.99)  # held-out accuracy that makes a network worth attacking and leaves it something to get wrong


def page(outcome: Outcome) -> str:
    """Return the page's HTML."""
    found = rows(outcome)
    success, rmse = found["success/all of them/all images"], found["rmse/median"].value
    lead = (
        f"{_number(len(outcome.networks)).capitalize()} small networks learned to name drawn things. Then images were "
        f"changed, by {rmse:.0f} of 255 grey levels in the middle case, so that "
        f"{_number(len(outcome.networks) - 1)} of them give the same wrong name at once. That worked for "
        f"{success.numerator} of {success.denominator} attempts. The last network was never attacked: it shows how far "
        "such a change carries."
    )
    title = "Can one image fool several networks at once?"
    return render(title, lead, tuple(section(outcome) for section in SECTIONS), results(outcome))


def pictures(outcome: Outcome) -> Section:
    """What an attack looks like."""
    examples = chosen(outcome, 3)
    if not examples:
        return Section("What it looks like", "No attack succeeded on an image that all networks had named rightly.")
    lead = f"The networks name the first image rightly, and the last one “{examples[0].target}”. " + RULE
    return Section("What it looks like", lead, tuple(strip(example) for example in examples))


def success(outcome: Outcome) -> Section:
    """How often the attacked networks say the target."""
    found, settings = rows(outcome), outcome.settings
    names = [*(network.name for network in outcome.networks if network.attacked), "all of them"]
    lead = (
        f"Each of {len(outcome.images)} held-out images was attacked towards the {settings.targets} classes that the "
        f"networks together find least likely, by {settings.steps} steps of Adam on the pixels through all of them. "
        "A network is fooled when it says the target."
    )
    witness = outcome.networks[-1].name
    lines = [(name, found[f"success/{name}/all images"]) for name in names]
    lines += [
        (f"{witness}, not attacked", found["transfer/says the target/all images"]),
        (f"{witness}, change mirrored", found["mirrored change/says the target/all images"]),
    ]
    figure = figures.rates(
        lines,
        alt="Share of attempts after which each network says the target; the numbers are in the tables below.",
        caption="Attempts after which a network says the target. All of them: all attacked networks at once.",
    )
    note = Text(
        "“Right when clean” counts only images that every attacked network named rightly before. Intervals are "
        "Wilson's at 95 %; they treat attempts on one image as independent, which they are not quite. Success is "
        "judged on the picture as it was read back from the disk, in 256 levels a colour."
    )
    return Section("How often it works", lead, (figure, _table(found, "network", "success", names), note))


def transfer(outcome: Outcome) -> Section:
    """What the network says that was not attacked."""
    found, witness = rows(outcome), outcome.networks[-1]
    target, control = (found[f"{name}/says the target/all images"] for name in ("transfer", "mirrored change"))
    lead = (
        f"The network of {witness.name} learned from the same images and had no part in the attack. It says the target "
        f"for {_share(target)} of the adversarial images. Mirrored left to right, a change of the same size makes it "
        f"say the target for {_share(control)}."
    )
    lines = {
        "adversarial image": "transfer",
        "control: the change mirrored": "mirrored change",
        "clean image": "clean",
    }
    says = [("says the target", name) for name in lines] + [("does not say the truth", name) for name in lines]
    cells = []
    for what, name in says:
        row = [found.get(f"{lines[name]}/{what}/{population}") for population in POPULATIONS]
        if row[0] is not None and row[1] is not None:
            cells.append((f"{what}, {name}", row[0], row[1]))
    table = Table(columns=(f"what {witness.name} says", *POPULATIONS), rows=tuple(cells))
    return Section("Does it carry over to a network it never met?", lead, (table,))


def size(outcome: Outcome) -> Section:
    """How much was changed."""
    found = rows(outcome)
    median, high, linf = (found[name].value for name in ("rmse/median", "rmse/90th percentile", "linf/median"))
    lead = (
        f"Half of the adversarial images differ from theirs by less than {median:.2f} of 255 grey levels (root mean "
        f"square over all pixels), nine in ten by less than {high:.2f}. The pixel that changes most does so by "
        f"{linf:.0f} levels in the median image."
    )
    figure = figures.histogram(
        [float(value) for value in outcome.rmse.ravel()],
        label="root mean squared change, in grey levels of 255",
        mark=median,
        alt=f"Histogram of the size of the change; half of the images lie below {median:.2f} grey levels.",
    )
    return Section("How much is changed", lead, (figure,))


def stored(outcome: Outcome) -> Section:
    """Where the adversarial images are, and how to measure them again."""
    found = rows(outcome)
    before, after = (found[f"{name}/all of them/all images"] for name in ("before rounding", "success"))
    lead = (
        f"All {outcome.rmse.size} adversarial images lie in {outcome.folder.set} as bytes, and what this page says of "
        "them was read from there. A rounding to 256 levels can undo an attack: before it, "
        f"{before.numerator} of {before.denominator} attempts fooled all attacked networks at once; as stored, "
        f"{after.numerator} do. Type this to measure all of it again, and to look at one image:"
    )
    to_type, digest = Code("\n".join(commands(outcome))), Code(outcome.digest)
    note = Text("The digest of the set, which the same seed gives again on this machine:")
    return Section("Do not take our word for it", lead, (to_type, note, digest))


def commands(outcome: Outcome) -> tuple[str, str]:
    """What to type to measure the set again with the witness, and to look at the first example."""
    folder, witness = outcome.folder, outcome.networks[-1]
    image, target = next(iter(places(outcome, 1)), (0, 0))
    verify = ["verify", str(folder.set), "--model", folder.spec(witness.recipe)]
    show = [
        "show",
        str(folder.set),
        outcome.ids[image],
        "--target",
        str(target),
        "--model",
        folder.spec(witness.recipe),
    ]
    return shlex.join(["interp-plugins", "attack", *verify]), shlex.join(["interp-plugins", "attack", *show])


def networks(outcome: Outcome) -> Section:
    """How good the networks are."""
    found, settings = rows(outcome), outcome.settings
    low, high = BAND
    outside = [n.name for n in outcome.networks if not low <= n.right / settings.held_out <= high]
    judgement = (
        f"All lie between {low:.0%} and {high:.0%}, as the study wants them: good enough to be worth fooling."
        if not outside
        else f"Outside the {low:.0%} to {high:.0%} that the study wants: {', '.join(outside)}. Read the rest so."
    )
    lead = (
        f"Residual networks of {len(outcome.networks)} depths, trained for {settings.epochs} rounds on "
        f"{settings.training} images of {len(outcome.classes)} classes, and tested on {settings.held_out} others. "
        f"{judgement}"
    )
    table = Table(
        columns=("network", "accuracy on held-out images", "on training images, last round", "part in the attack"),
        rows=tuple(
            (
                network.name,
                found[f"accuracy/{network.name}"],
                f"{network.training_accuracy:.1%}",
                "attacked" if network.attacked else "none",
            )
            for network in outcome.networks
        ),
    )
    return Section("The networks", lead, (table,))


def hosts(outcome: Outcome) -> Section:
    """The same attack through the core and through the host frameworks."""
    core, *others = outcome.hosts
    same = [host.host for host in others if host.sha256 == core.sha256]
    different = [host.host for host in others if host.sha256 not in (None, core.sha256)]
    missing = [host for host in others if host.sha256 is None]
    sentences = ["The attack is also a class of torchattacks and one of ART, with the same name."]
    if same:
        sentences.append(f"Run through {_and(same)}, it gives the same images as the core, to the last bit.")
    if different:
        sentences.append(f"Run through {_and(different)}, it gives other bits than the core.")
    if missing:
        sentences.append(f"Not run here: {_and([host.host for host in missing])}.")
    table = Table(
        columns=("run through", "sha256 of the adversarial images"),
        rows=tuple((host.host, host.sha256 or f"not run: {host.problem}") for host in outcome.hosts),
        caption=f"{min(outcome.settings.compared, len(outcome.images))} images, the least likely target of each.",
    )
    cures: list[Piece] = [Code("\n".join(host.cure for host in missing))] if missing else []
    return Section("The same attack in torchattacks and ART", " ".join(sentences), (table, *cures))


SECTIONS: tuple[Callable[[Outcome], Section], ...] = (
    pictures,
    success,
    transfer,
    size,
    neurons.section,
    dissection.section,
    training.section,
    stored,
    networks,
    hosts,
)


def _table(found: dict[str, Row], heading: str, kind: str, names: list[str]) -> Table:
    return Table(
        columns=(heading, *POPULATIONS),
        rows=tuple((name, *(found[f"{kind}/{name}/{population}"] for population in POPULATIONS)) for name in names),
    )


def _share(row: Row) -> str:
    return "none" if row.value is None else f"{row.value:.1%}".replace("%", " %")


def _and(names: list[str]) -> str:
    return " and ".join(names)


def _number(count: int) -> str:
    return {2: "two", 3: "three", 4: "four", 5: "five"}.get(count, str(count))
