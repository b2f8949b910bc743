"""Each formula again, slowly, in float64, from the paper's page. Nothing here is shared with the package."""

import itertools
import math
from fractions import Fraction

import torch


def cross_entropy(logits, target):
    logits = [float(value) for value in logits]
    top = max(logits)
    return top + math.log(sum(math.exp(value - top) for value in logits)) - logits[target]


def fused_loss(all_logits, weights, target, fusion):
    """The three fusions for one image; all_logits: one list of logits a member."""
    total = sum(weights)
    weights = [weight / total for weight in weights]
    if fusion == "loss":
        return sum(w * cross_entropy(z, target) for w, z in zip(weights, all_logits, strict=True))
    if fusion == "prob":
        return -math.log(sum(w * math.exp(-cross_entropy(z, target)) for w, z in zip(weights, all_logits, strict=True)))
    mean = [sum(w * float(z[c]) for w, z in zip(weights, all_logits, strict=True)) for c in range(len(all_logits[0]))]
    return cross_entropy(mean, target)


def distance(change, kind):
    squares = float((change.double() ** 2).sum())
    return {"l2": math.sqrt(squares), "squared": squares, "rmse": math.sqrt(squares / change.numel())}[kind]


def ensemble_optimization(members, image, target, *, steps, step_size, fusion, weights, distance_weight, kind, epsilon):
    """All iterates of one image by torch's own Adam on an autograd objective: [(image, members fooled, loss)].

    The Adam epsilon is the usual 1e-8 on [0, 255] pixels, so 255e-8 here.
    """
    pixels = image.clone().double().requires_grad_(True)
    optimiser = torch.optim.Adam([pixels], lr=step_size, eps=255e-8)
    shares = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    label = torch.tensor([target])

    def objective():
        logits = [member(pixels[None]) for member in members]
        if fusion == "loss":
            loss = sum(w * torch.nn.functional.cross_entropy(z, label) for w, z in zip(shares, logits, strict=True))
        elif fusion == "prob":
            loss = -torch.log(sum(w * z.softmax(1)[0, target] for w, z in zip(shares, logits, strict=True)))
        else:
            mean = sum(w * z for w, z in zip(shares, logits, strict=True))
            loss = torch.nn.functional.cross_entropy(mean, label)
        change = pixels - image.double()
        squares = (change**2).sum()
        if float(squares.detach()) > 0:  # the distance's gradient is taken as zero where nothing has changed
            term = {"l2": squares.sqrt, "squared": lambda: squares, "rmse": lambda: (squares / change.numel()).sqrt()}
            loss = loss + distance_weight * term[kind]()
        return loss, sum(int(z.argmax()) == target for z in logits)

    visited = []
    for _ in range(steps):
        loss, fooled = objective()
        visited.append((pixels.detach().clone(), fooled, float(loss.detach())))
        (pixels.grad,) = torch.autograd.grad(loss, pixels)
        optimiser.step()
        with torch.no_grad():
            if epsilon is not None:
                pixels.clamp_(image.double() - epsilon, image.double() + epsilon)
            pixels.clamp_(0, 1)
    loss, fooled = objective()
    visited.append((pixels.detach().clone(), fooled, float(loss.detach())))
    return visited


def best(visited):
    """The index of the iterate that fools most members and, among those, has the lowest loss."""
    return max(range(len(visited)), key=lambda i: (visited[i][1], -visited[i][2]))


def pgd(member, image, label, *, epsilon, step_size, steps, norm, targeted):
    """All iterates of one image: [(image, fooled, loss to minimise)]."""
    sign = 1 if targeted else -1
    x, visited = image.double(), []
    for step in range(steps + 1):
        pixels = x.clone().requires_grad_(True)
        logits = member(pixels[None])
        loss = sign * torch.nn.functional.cross_entropy(logits, torch.tensor([label]))
        hit = int(logits.argmax()) == label
        visited.append((x, int(hit == targeted), float(loss.detach())))
        if step == steps:
            return visited
        (gradient,) = torch.autograd.grad(loss, pixels)
        if norm == "linf":
            x = torch.clamp(x - step_size * gradient.sign(), image.double() - epsilon, image.double() + epsilon)
        else:
            x = x - step_size * gradient / gradient.norm()
            change = x - image.double()
            x = image.double() + change * min(1.0, epsilon / float(change.norm()))
        x = x.clamp(0, 1)
    raise AssertionError


def inside(levels, origin, epsilon, norm):
    """Whether whole grey levels keep the box and the ball; `epsilon` is a fraction of [0, 1], so nothing is rounded."""
    changes = [abs(level - centre) for level, centre in zip(levels, origin, strict=True)]
    if not all(0 <= level <= 255 for level in levels):
        return False
    if epsilon is None:
        return True
    radius = 255 * Fraction(epsilon)
    return max(changes) <= radius if norm == "linf" else sum(change**2 for change in changes) <= radius**2


def nearest_bytes(values, origin, epsilon, norm, reach=4):
    """The grid point inside the box and the ball that is nearest to `values` (on [0, 255]), by trying them all."""
    around = [range(round(value) - reach, round(value) + reach + 1) for value in values]
    points = [point for point in itertools.product(*around) if inside(point, origin, epsilon, norm)]
    return min(points, key=lambda point: math.dist(point, values))


def bytes_in_l2(values, origin, epsilon):
    """Values on [0, 255] rounded; then one level back at a time, the closest call first, until inside the ball."""
    levels = [round(value) for value in values]
    calls = [abs(level - o) - abs(value - o) for level, value, o in zip(levels, values, origin, strict=True)]
    for index in sorted(range(len(levels)), key=lambda i: -calls[i]):
        if inside(levels, origin, epsilon, "l2"):
            break
        levels[index] -= 1 if levels[index] > origin[index] else -1
    return levels


def level_and_consistency(p, similarity):
    """p^T A p, as printed."""
    return sum(p[i] * p[j] * similarity[i][j] for i in range(len(p)) for j in range(len(p)))


def pair_consistency(shown, pictures, similarity):
    """Mean similarity of two images of different pictures; shown: the set of classes of each image."""
    pairs = [(a, b) for a in range(len(shown)) for b in range(len(shown)) if pictures[a] != pictures[b]]
    alike = sum(similarity[i][j] for a, b in pairs for i in shown[a] for j in shown[b])
    return alike / len(pairs) if pairs else math.nan


def class_cosine(p, q, similarity):
    def product(a, b):
        return sum(a[i] * b[j] * similarity[i][j] for i in range(len(a)) for j in range(len(b)))

    return product(p, q) / math.sqrt(product(p, p) * product(q, q))


def distance_ratio_pairs(clean, labels, attacked, targets, denominator):
    """[(r_1, r_2)] of attacked[i][j], made from clean[i]; points are lists of floats."""

    def centre(label, without):
        members = [x for i, x in enumerate(clean) if labels[i] == label and i != without]
        return [sum(values) / len(members) for values in zip(*members, strict=True)]

    def real(i, label):
        return math.dist(clean[i], centre(label, i))

    found = []
    for i, (copies, aims) in enumerate(zip(attacked, targets, strict=True)):
        fellows = [j for j in range(len(clean)) if labels[j] == labels[i]] if denominator == "class_mean" else [i]
        for copy, aim in zip(copies, aims, strict=True):
            ratios = []
            for label in (labels[i], aim):
                below = sum(real(j, label) for j in fellows) / len(fellows)
                ratios.append(math.dist(copy, centre(label, i)) / below)
            found.append(tuple(ratios))
    return found


def taxonomy_distance(parents, a, b):
    """The shortest of all ways from a up to a common ancestor and down to b; parents: a list of parents an id."""

    def ways_up(name, steps=0):
        return [(name, steps), *(way for parent in parents[name] for way in ways_up(parent, steps + 1))]

    return min(up + down for above, up in ways_up(a) for other, down in ways_up(b) if above == other)


def prediction_differences(model, layer, image, target, score, off=None, laplace=None):
    """S(c | x) - S(c | x without unit i) for each unit i, by one pass of the whole model each."""

    def scored(unit):
        def ablate(_module, _inputs, output):
            changed = output.clone()
            if unit is not None:
                changed[:, unit] = off[unit] if off else 0
            units.append(output.shape[1])
            return changed

        handle = model.get_submodule(layer).register_forward_hook(ablate)
        with torch.no_grad():
            logits = [float(value) for value in model(image[None])[0]]
        handle.remove()
        if score == "logit":
            return logits[target]
        p = math.exp(-cross_entropy(logits, target))
        if laplace:
            p = (p * laplace + 1) / (laplace + len(logits))
        return p if score == "prob" else math.log2(p / (1 - p))

    units = []
    clean = scored(None)
    return [clean - scored(unit) for unit in range(units[0])]


def discrepancy(model, layer, image, units, patch, stride, at, difference):
    """What each unit's activation loses when the patch covers each place of the grid: lists (unit, row, column)."""

    def maps(picture):
        kept = []
        handle = model.get_submodule(layer).register_forward_hook(lambda m, i, output: kept.append(output[0].tolist()))
        with torch.no_grad():
            model.eval()(picture[None])
        handle.remove()
        return kept[0]

    def lost(unit, row, column):
        covered = image.clone()
        covered[:, row : row + side, column : column + side] = patch
        after = maps(covered)[unit]
        top = max(max(line) for line in clean[unit])
        peak = next((i, j) for i, line in enumerate(clean[unit]) for j, value in enumerate(line) if value == top)
        value = top - (after[peak[0]][peak[1]] if at == "peak" else max(max(line) for line in after))
        return abs(value) if difference == "absolute" else value

    side, clean = patch.shape[-1], maps(image)
    starts = [range(0, length - side + 1, stride) for length in image.shape[1:]]
    return [[[lost(unit, row, column) for column in starts[1]] for row in starts[0]] for unit in units]


def unit_conflict(histograms, units, label, similarity):
    """One minus the mean, over the units that are known, of p^T A e_c / sqrt(p^T A p)."""
    found = []
    for p in (histograms[unit] for unit in units):
        if not any(math.isnan(value) for value in p):
            alike = sum(p[i] * similarity[i][label] for i in range(len(p)))
            found.append(alike / math.sqrt(level_and_consistency(p, similarity)))
    return 1 - sum(found) / len(found) if found else math.nan


def distance_scores(clean, labels, points, classes, left_out):
    """Distance of each point from the centre of its class over the mean distance of that class's own images.

    left_out: the points are the clean ones, and each is left out of its own class's centre.
    """

    def centre(label, without=None):
        members = [x for i, x in enumerate(clean) if labels[i] == label and i != without]
        return [sum(values) / len(members) for values in zip(*members, strict=True)]

    found = []
    for i, (point, label) in enumerate(zip(points, classes, strict=True)):
        fellows = [j for j in range(len(clean)) if labels[j] == label]
        below = sum(math.dist(clean[j], centre(label, j)) for j in fellows) / len(fellows)
        found.append(math.dist(point, centre(label, i if left_out and i in fellows else None)) / below)
    return found


def separation(clean, attacked):
    """AUROC by all pairs, and the false alarms at the highest threshold that catches 95 % of the attacked."""
    wins = sum(1 if a > c else 0.5 if a == c else 0 for a in attacked for c in clean)
    catching = [t for t in attacked if 20 * sum(a >= t for a in attacked) >= 19 * len(attacked)]
    alarms = sum(c >= max(catching) for c in clean)
    return wins / (len(clean) * len(attacked)), alarms / len(clean)
