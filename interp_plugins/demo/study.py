"""The study itself: draw a world, train four networks, attack three of them at once, ask all four.

Everything is judged on bytes: the adversarial images go into a set on the disk, and whatever is said of them is said of
what was read back from there. The fourth network is trained like the others and never attacked; it sees the same
adversarial images, and, as a control, the same changes mirrored left to right, which are as large but not aimed.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from interp_plugins.attacks import EnsembleOptimization, LeastLikely, PredictedLabelFGSM
from interp_plugins.demo.folder import Folder, Recipe
from interp_plugins.demo.hosts import HostRun, through_hosts
from interp_plugins.demo.networks import ResidualNetwork, fresh
from interp_plugins.demo.remedies import ADAPTED, AS_BEFORE, CONSISTENT, Lesson, Pupil, last_convolution, teach
from interp_plugins.demo.work import Job, Numbers, Pictures, Workers, attack, draw, label, learn, workers
from interp_plugins.dissection.dissection import NetworkDissection
from interp_plugins.foundation.distributed import Place
from interp_plugins.foundation.taxonomy import similarity
from interp_plugins.foundation.tiles import fill, spans
from interp_plugins.neurons.survey import Survey, survey_of
from interp_plugins.report.study import Study
from interp_plugins.sources import images as sources
from interp_plugins.sources import scenes, weights, wordnet
from interp_plugins.sources.labelled import open_labelled
from interp_plugins.store.lock import hold
from interp_plugins.store.manifest import Member
from interp_plugins.store.plan import plan
from interp_plugins.store.sets import AdversarialSet

Probabilities = NDArray[np.float32]
Watch = Callable[[str, float], None]  # told what is being done, and which share of it (0 to 1) is done


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the numbers. The defaults take about two minutes of processor time."""

    seed: int = 0
    size: int = 48  # of the pictures, in pixels
    training: int = 2000  # pictures to learn from
    held_out: int = 400  # pictures that tell the accuracy
    attacked: int = 20  # the first so many held-out pictures
    targets: int = 10  # least likely classes an image is attacked towards
    depths: tuple[int, ...] = (4, 8, 12)  # of the networks that are attacked
    witness: int = 16  # depth of the one that is not
    width: int = 16  # channels of the first stage
    epochs: int = 6
    steps: int = 20  # of the attack
    # These networks live with grain and need large changes; smaller steps and a dearer distance than the attack's own
    # defaults make them half as large, and cost next to no success.
    step_size: float = 2 / 255
    distance_weight: float = 0.1
    tile: int = 16  # rows a network call
    compared: int = 8  # pictures that are attacked through the hosts as well
    epsilon: float = 16 / 255  # of the one step under which units are dissected, and that networks learn to withstand
    again: int = 800  # pictures from which one network learns for longer, in three ways
    more: int = 2  # epochs of that
    rate: float = 0.02  # of that
    share: float = 0.05  # of all pictures that stand for a unit; the papers' 0.01 would be 4 of them
    sigma: float = 2.0  # of the similarity of classes

    def method(self) -> EnsembleOptimization:
        """Return the attack."""
        return EnsembleOptimization(
            steps=self.steps, step_size=self.step_size, distance_weight=self.distance_weight, tile=self.tile
        )


@dataclass(frozen=True)
class Network:
    """A trained network, and how well it does on pictures it has not seen."""

    recipe: Recipe
    sha256: str  # of the weights
    training_accuracy: float
    right: int  # held-out pictures it names rightly
    attacked: bool

    @property
    def name(self) -> str:
        """What people call it."""
        return self.recipe.name


@dataclass(frozen=True)
class Outcome:
    """All that happened, for n images, t targets, m networks (the attacked ones first, the witness last), k classes."""

    settings: Settings
    folder: Folder
    classes: tuple[str, ...]
    networks: tuple[Network, ...]
    images: Pictures  # (n, 3, h, w)
    labels: Numbers  # (n,)
    # read from the set
    digest: str
    ids: tuple[str, ...]
    targets: Numbers  # (n, t)
    adversarial: Pictures  # (n, t, 3, h, w)
    fooled_before: NDArray[np.bool_]  # (n, t, m - 1), which attacked networks said the target before rounding to bytes
    fooled: NDArray[np.bool_]  # (n, t, m - 1), which say it of the bytes
    rmse: NDArray[np.float64]  # (n, t), root of the mean squared change of a byte, in grey levels
    linf: NDArray[np.int64]  # (n, t), largest change of a byte, in grey levels
    # asked afterwards
    clean_says: Probabilities  # (n, m, k)
    says: Probabilities  # (n, t, m, k)
    control_says: Probabilities  # (n, t, k), the witness on the mirrored changes
    hosts: tuple[HostRun, ...]
    pupils: tuple[Pupil, ...]  # the network of `looked_into` after it has learned for longer, by remedy
    unseen: Pictures  # (held_out, 3, h, w), all held-out pictures, the attacked ones first
    looked_into: Network  # whose units were measured
    model: ResidualNetwork  # that network
    survey: Survey
    dissection: Study
    inputs: tuple[tuple[str, str], ...]  # what went in: name, sha256
    threads: int  # a process

    @property
    def right_when_clean(self) -> NDArray[np.bool_]:
        """Which images all attacked networks name rightly before the attack, (n,)."""
        return np.asarray((self.clean_says[:, :-1].argmax(2) == self.labels[:, None]).all(1))

    @property
    def all_fooled(self) -> NDArray[np.bool_]:
        """Which attacks fool all attacked networks at once, (n, t)."""
        return np.asarray(self.fooled.all(2))


def run(settings: Settings, folder: Folder, *, processes: int = 1, watch: Watch | None = None) -> Outcome:
    """Run the study.

    Args:
        settings: What decides the numbers.
        folder: Where networks, pictures and the set go; those of an earlier study are replaced.
        processes: How many to start for the long parts, one thread each; 1 works in this process. The numbers are the
            same for any, if this process has one thread too.
        watch: Told how far the work is.

    Raises:
        ValueError: The folder holds a set that no study made there.
        OSError: The folder cannot be written.
    """
    watch = watch or (lambda doing, share: None)
    world = scenes.draw(1, 16)
    threads = torch.get_num_threads() if processes == 1 else 1
    folder.clear()
    with workers(processes) as work:
        images, labels = _draw(settings, folder, work, watch)
        learned = images[: settings.training], labels[: settings.training]
        unseen = images[settings.training :], labels[settings.training :]
        networks = _train(settings, folder, len(world.classes), learned, unseen, work, watch)
        chosen, truth = unseen[0][: settings.attacked], unseen[1][: settings.attacked]
        folder.write_pictures(chosen, truth, world.classes, world.wnids)
        made = _attack(settings, folder, networks[:-1], threads, work, watch)
        parts = [made.read(number) for number in range(made.manifest.shards)]
        adversarial, targets = _joined([part.images for part in parts]), _joined([part.targets for part in parts])
        middle = len(networks) // 2 - 1
        *pupils, dissection, hosts = _look(
            settings, folder, networks[:-1], middle, learned, unseen, (adversarial, targets), world.wnids, work, watch
        )
    models = [folder.network(network.recipe) for network in networks]
    watch("asking the networks", 0.0)
    clean = np.stack([ask(model, chosen, settings.tile) for model in models], 1)
    says = np.stack([ask(model, adversarial, settings.tile) for model in models], 2)
    control = ask(models[-1], mirrored_change(chosen, adversarial), settings.tile)
    watch("asking the networks", 1.0)
    watch("measuring the units of one network", 0.0)
    survey = _survey(settings, models[middle], unseen, adversarial, targets, world.wnids)
    watch("measuring the units of one network", 1.0)
    inputs = [("training images", _digest(*learned)), ("held-out images", _digest(*unseen))]
    return Outcome(
        settings=settings,
        folder=folder,
        classes=world.classes,
        networks=networks,
        images=chosen,
        labels=truth,
        digest=made.seal(),
        ids=made.manifest.data.ids,
        targets=targets,
        adversarial=adversarial,
        fooled_before=_joined([part.fooled_before for part in parts]),
        fooled=_joined([part.fooled for part in parts]),
        rmse=_joined([part.rmse for part in parts]),
        linf=_joined([part.linf for part in parts]),
        clean_says=clean,
        says=says,
        control_says=control,
        hosts=hosts,
        pupils=tuple(pupils),
        unseen=unseen[0],
        looked_into=networks[middle],
        model=models[middle],
        survey=survey,
        dissection=dissection,
        inputs=(*inputs, *((f"network of {network.name}", network.sha256) for network in networks)),
        threads=threads,
    )


def ask(model: nn.Module, images: Pictures, tile: int) -> Probabilities:
    """Return a network's probabilities for byte images: (..., 3, h, w) to (..., k)."""
    flat = torch.from_numpy(images.reshape(-1, *images.shape[-3:]))
    with torch.no_grad():
        parts = [
            model(fill(flat[span], tile).float() / 255)[: span.stop - span.start].softmax(1)
            for span in spans(len(flat), tile)
        ]
    return np.asarray(torch.cat(parts).unflatten(0, images.shape[:-3]).numpy())


def mirrored_change(images: Pictures, adversarial: Pictures) -> Pictures:
    """Add each change to its image mirrored left to right: as large, but aimed at nothing."""
    change = adversarial.astype(np.int16) - images[:, None]
    return (images[:, None] + change[..., ::-1]).clip(0, 255).astype(np.uint8)


def _draw(settings: Settings, folder: Folder, work: Workers, watch: Watch) -> tuple[Pictures, Numbers]:
    """The pictures to learn from, and after them the held-out ones, which are written with their concepts as well."""
    training, held_out, size, seed = settings.training, settings.held_out, settings.size, settings.seed
    counts = {at: min(200, training - at) for at in range(0, training, 200)}
    jobs: list[Job] = [(label, (folder, held_out, size, seed, training))]  # the longest first
    jobs += [(draw, (count, size, seed, at)) for at, count in counts.items()]
    sizes = [float(count) for count in (held_out, *counts.values())]
    first, *others = _collect(work, jobs, sizes, "drawing the world", watch)
    parts = [*others, first]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _train(
    settings: Settings,
    folder: Folder,
    classes: int,
    learned: tuple[Pictures, Numbers],
    unseen: tuple[Pictures, Numbers],
    work: Workers,
    watch: Watch,
) -> tuple[Network, ...]:
    recipes = [
        Recipe(depth, settings.width, classes, settings.epochs, settings.seed)
        for depth in (*settings.depths, settings.witness)
    ]
    folder.write_nets(recipes)
    # The deepest first: the processes then finish at about the same time.
    order = sorted(range(len(recipes)), key=lambda i: -recipes[i].depth)
    jobs: list[Job] = [(learn, (folder, recipes[i], *learned)) for i in order]
    accuracies = _collect(work, jobs, [recipes[i].depth for i in order], "training four networks", watch)
    networks = []
    for i, recipe in enumerate(recipes):
        model = folder.network(recipe)
        right = int((ask(model, unseen[0], settings.tile).argmax(1) == unseen[1]).sum())
        accuracy = accuracies[order.index(i)]
        networks.append(Network(recipe, weights.digest(model), accuracy, right, i < len(settings.depths)))
    return tuple(networks)


def _attack(
    settings: Settings, folder: Folder, members: Sequence[Network], threads: int, work: Workers, watch: Watch
) -> AdversarialSet:
    """The finished set; a shard is a job."""
    manifest = plan(
        settings.method(),
        f"least-likely:{settings.targets}",
        [Member(name=each.name, spec=_absolute(folder).spec(each.recipe), sha256=each.sha256) for each in members],
        sources.load(folder.pictures),
        str(_absolute(folder).pictures),
        seed=settings.seed,
        threads=threads,
    )
    made = AdversarialSet.create(folder.set, manifest)
    recipes = [member.recipe for member in members]
    fixed = (folder, recipes, settings.method(), LeastLikely(settings.targets))
    jobs: list[Job] = [(attack, (*fixed, number)) for number in range(manifest.shards)]
    doing = f"attacking {len(manifest.data.ids)} images with {settings.targets} targets each"
    with hold(folder.set, Place()):
        _collect(work, jobs, [float(len(manifest.span(number))) for number in range(manifest.shards)], doing, watch)
    return made


def _look(
    settings: Settings,
    folder: Folder,
    members: Sequence[Network],
    middle: int,
    learned: tuple[Pictures, Numbers],
    unseen: tuple[Pictures, Numbers],
    adversarial: tuple[Pictures, Numbers],
    wnids: Sequence[str],
    work: Workers,
    watch: Watch,
) -> list[Any]:
    """One network after each of three lessons, its dissection before them, and what the hosts make of the attack."""
    lesson = Lesson(
        epochs=settings.more,
        rate=settings.rate,
        epsilon=settings.epsilon,
        tile=settings.tile,
        share=settings.share,
        seed=settings.seed,
    )
    classes = similarity(wordnet.packaged().distances(wnids), settings.sigma)
    some = learned[0][: settings.again], learned[1][: settings.again]
    few = slice(min(settings.compared, settings.attacked))
    recipes = [member.recipe for member in members]
    fixed = (folder, recipes[middle], lesson, some, unseen, adversarial, classes)
    jobs: list[Job] = [(teach, (remedy, *fixed)) for remedy in (AS_BEFORE, CONSISTENT, ADAPTED)]
    jobs.append((dissect, (settings, folder, members[middle])))
    jobs.append((through_hosts, (folder, recipes, settings.method(), unseen[0][few], adversarial[1][few, 0])))
    doing = "teaching one network for longer, dissecting it, and comparing the hosts"
    return _collect(work, jobs, [2.0, 3.0, 3.0, 2.0, 2.0], doing, watch)


def _survey(
    settings: Settings,
    model: nn.Module,
    unseen: tuple[Pictures, Numbers],
    adversarial: Pictures,
    targets: Numbers,
    wnids: Sequence[str],
) -> Survey:
    """What the units of one network mean, for all held-out pictures and for the adversarial ones."""
    real, attacked = (torch.from_numpy(pixels).float() / 255 for pixels in (unseen[0], adversarial))
    return survey_of(
        model,
        real,
        torch.from_numpy(unseen[1]),
        similarity(wordnet.packaged().distances(wnids), settings.sigma),
        attacked,
        torch.from_numpy(targets),
        share=settings.share,
        tile=settings.tile,
    )


def dissect(settings: Settings, folder: Folder, network: Network) -> Study:
    """Which drawn concepts the units of one network point at: clean, attacked, and before it had learned anything."""
    images, method = open_labelled(folder.labelled), NetworkDissection(seed=settings.seed, tile=settings.tile)
    model = folder.network(network.recipe)
    layer = last_convolution(model)
    step = PredictedLabelFGSM(epsilon=settings.epsilon, tile=settings.tile)
    recipe = network.recipe
    before = fresh(recipe.depth, recipe.classes, recipe.width, recipe.seed).eval()
    found = {
        f"{layer}, untrained": replace(method, permutations=0)(before, [layer], images)[layer],
        layer: method(model, [layer], images, lambda clean, _numbers: step(model, clean))[layer],
    }
    told = f"FGSM, epsilon = {255 * settings.epsilon:g}/255, away from the predicted class"
    return Study(found, method, images.vocabulary, len(images), told)


def _collect(work: Workers, jobs: Sequence[Job], sizes: Sequence[float], doing: str, watch: Watch) -> list[Any]:
    """Do the jobs and return their results in their order, telling how much of the work is done."""
    results: list[Any] = [None] * len(jobs)
    done = 0.0
    watch(doing, 0.0)
    for number, result in work(jobs):
        results[number] = result
        done += sizes[number] / sum(sizes)
        watch(doing, min(done, 1.0))
    return results


def _digest(images: Pictures, labels: Numbers) -> str:
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


def _joined(parts: Sequence[Tensor]) -> NDArray[Any]:
    return np.asarray(torch.cat(list(parts)).numpy())


def _absolute(folder: Folder) -> Folder:
    """The same folder by a name that holds from anywhere."""
    return Folder(folder.path.absolute())
