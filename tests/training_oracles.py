"""Each training objective again, slowly, in Python floats, from the papers' pages. Nothing shared with the package."""

import math


def consistent(clean, adversarial, distance, reduction):
    def one(a, b):
        if distance == "cosine":
            dot = sum(x * y for x, y in zip(a, b, strict=True))
            return 1 - dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
        squares = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
        squares = squares / len(a) if reduction == "mean" else squares
        return squares if distance == "squared" else math.sqrt(squares)

    return sum(one(a, b) for a, b in zip(clean, adversarial, strict=True)) / len(clean)


def covariance(rows, kind):
    n, d = len(rows), len(rows[0])
    means = [sum(row[i] for row in rows) / n for i in range(d)]
    divisor = {"unbiased": n - 1, "biased": n, "scatter": 1}[kind]
    return [
        [sum((row[i] - means[i]) * (row[j] - means[j]) for row in rows) / divisor for j in range(d)] for i in range(d)
    ]


def coral(clean, adversarial, norm, kind):
    d = len(clean[0])
    first, second = covariance(clean, kind), covariance(adversarial, kind)
    entries = [first[i][j] - second[i][j] for i in range(d) for j in range(d)]
    if norm == "l1":
        return sum(abs(entry) for entry in entries) / d**2
    return sum(entry**2 for entry in entries) / (4 * d**2)


def mean_difference(clean, adversarial):
    d = len(clean[0])
    means = [[sum(row[i] for row in rows) / len(rows) for i in range(d)] for rows in (clean, adversarial)]
    return sum(abs(a - b) for a, b in zip(*means, strict=True)) / d


def squared_distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def mean_squared_distance(rows):
    return sum(squared_distance(a, b) for a in rows for b in rows) / (len(rows) * (len(rows) - 1))


def mmd(clean, adversarial, bandwidths, scale, estimator):
    def kernel(a, b):
        return sum(math.exp(-squared_distance(a, b) / (width * scale)) for width in bandwidths) / len(bandwidths)

    def within(rows):
        if estimator == "biased":
            return sum(kernel(a, b) for a in rows for b in rows) / len(rows) ** 2
        pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j]
        return sum(kernel(rows[i], rows[j]) for i, j in pairs) / len(pairs)

    across = sum(kernel(a, b) for a in clean for b in adversarial) / (len(clean) * len(adversarial))
    return within(clean) + within(adversarial) - 2 * across


def margin(rows, labels, centres):
    def length(a, b):
        return sum(abs(x - y) for x, y in zip(a, b, strict=True))

    total = sum(
        math.log1p(math.exp(length(row, centres[label]) - length(row, centre)))
        for row, label in zip(rows, labels, strict=True)
        for c, centre in enumerate(centres)
        if c != label
    )
    return total / ((len(centres) - 1) * len(rows))


def moved_centres(centres, rows, labels, rate):
    moved = []
    for c, centre in enumerate(centres):
        own = [row for row, label in zip(rows, labels, strict=True) if label == c]
        moved.append([x - rate * sum(x - row[i] for row in own) / (1 + len(own)) for i, x in enumerate(centre)])
    return moved


def softmax(logits):
    powers = [math.exp(value) for value in logits]
    return [power / sum(powers) for power in powers]


def mean_cross_entropy(logits, labels):
    return -sum(math.log(softmax(row)[label]) for row, label in zip(logits, labels, strict=True)) / len(labels)


def mean_divergence(clean, adversarial):
    total = 0.0
    for a, b in zip(clean, adversarial, strict=True):
        total += sum(p * math.log(p / q) for p, q in zip(softmax(a), softmax(b), strict=True))
    return total / len(clean)
