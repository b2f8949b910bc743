"""How far apart are two classes? Distances in a taxonomy, and the similarity that level and consistency are made of.

Two metrics, both in edges:

    shortest        d(a, b) = min over common ancestors c of up(a, c) + up(b, c), where up counts the edges of the
                    shortest way from a class up to an ancestor. A class may have several parents (some of WordNet's
                    do), and every way counts. This is nltk's `shortest_path_distance`. A way goes up and then down,
                    never down and up again, so with several parents the triangle inequality may fail.
    minimal tree    The distance in one tree, in which every class asked for keeps a single way to the root, as Redmon
                    and Farhadi (arXiv 1612.08242, section 4) make one: classes with a single way come first, and each
                    other one is joined where that adds the fewest edges.

    similarity      a_ij = exp(-d(i, j)^2 / (2 sigma^2))                     (Dong et al., arXiv 1708.05493)

Dong et al. draw a tree with tabby and Persian cat under cat, 2 edges apart, and the wolfhound 4 edges from the Persian
cat. The drawing is a simplification: in WordNet 3.0 tabby and Persian cat are 2 apart, and Persian cat and Irish
wolfhound 7 by the shortest way (through "domestic animal") but 10 in the minimal tree (through "carnivore").

Departures. The paper says "tree" and gives neither its construction nor sigma. Where several joints add equally few
edges, Redmon and Farhadi leave the choice open; here the one nearest the root is taken, and then the first in
alphabetical order, so that the order of the classes does not matter. sigma = 2 is our default. On the 1,000 ImageNet
classes A is positive definite up to sigma = 1.8 for the shortest way and up to 2.2 for the minimal tree. Beyond,
p^T A p of a histogram is still positive, since neither has negative entries, but the weighted cosine
p^T A q / sqrt(p^T A p q^T A q) is no longer bounded by 1.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp_plugins.foundation import check

Metric = Literal["shortest", "minimal tree"]
METRICS: Final = ("shortest", "minimal tree")


class Taxonomy:
    """Ids and their parents: one root, no cycles; an id may have several parents.

    A taxonomy does not change once it is made, so threads may share it. Make one with `from_edges` or `from_networkx`.

    Args:
        parents: Each id's parents; ids that are only parents need no entry of their own.

    Attributes:
        ids: All ids, in alphabetical order.

    Raises:
        TypeError: An id is no string.
        ValueError: There are no ids, a cycle, or several roots.

    Example:
        >>> pets = Taxonomy.from_edges([("tabby", "cat"), ("Persian", "cat"), ("cat", "animal"), ("dog", "animal"),
        ...                             ("wolfhound", "dog")])
        >>> pets.distances(["tabby", "Persian", "wolfhound"])
        tensor([[0, 2, 4],
                [2, 0, 4],
                [4, 4, 0]])
    """

    def __init__(self, parents: Mapping[str, Iterable[str]]) -> None:
        given = {child: tuple(above) for child, above in parents.items()}
        self._parents = {name: tuple(sorted(set(given.get(name, ())))) for name in _downwards(given)}
        self.ids = tuple(sorted(self._parents))
        self._depths: dict[str, int] = {}
        for name, above in self._parents.items():  # parents come before their children
            self._depths[name] = 1 + min(self._depths[parent] for parent in above) if above else 0

    @classmethod
    def from_edges(cls, edges: Iterable[tuple[str, str]]) -> "Taxonomy":
        """A taxonomy from pairs (child, parent); a pair may come twice.

        Raises:
            ValueError: Something else is among the pairs.
        """
        parents: dict[str, list[str]] = defaultdict(list)
        for edge in edges:
            if isinstance(edge, str) or len(edge) != 2:
                raise ValueError(f"expected edges (child, parent), got {edge!r}")
            parents[edge[0]].append(edge[1])
        return cls(parents)

    @classmethod
    def from_networkx(cls, graph: Any) -> "Taxonomy":
        """A taxonomy from a `networkx.DiGraph` whose edges run from child to parent; `.reverse()` turns the other kind.

        Raises:
            TypeError: It is no directed graph.
        """
        import networkx  # here, for the quarter of a second that it takes to load

        if not isinstance(graph, networkx.DiGraph):
            raise TypeError(f"expected a networkx.DiGraph with edges from child to parent, got {type(graph).__name__}")
        return cls({node: tuple(graph.successors(node)) for node in graph})

    def parents(self, id: str) -> tuple[str, ...]:
        """The parents of an id, in alphabetical order; none for the root."""
        self._check(id)
        return self._parents[id]

    def depth(self, id: str) -> int:
        """Edges of the shortest way from an id up to the root."""
        self._check(id)
        return self._depths[id]

    def ancestors(self, id: str) -> dict[str, int]:
        """An id and all its ancestors, nearest first, each with the edges of the shortest way up to it."""
        self._check(id)
        return _climb([id], self._parents)

    def distances(self, ids: Sequence[str], metric: Metric = "shortest") -> Int[Tensor, "k k"]:
        """Edges between every two of some ids.

        Args:
            ids: At least one. The minimal tree is made for these ids: others beside them may change it.
            metric: As the module says.

        Raises:
            ValueError: There are none, one is not in the taxonomy, or the metric is unknown.
        """
        check.one_of("metric", metric, METRICS)
        if not ids:
            raise ValueError("expected at least one id, got none")
        self._check(*ids)
        return _distances(ids, self._parents if metric == "shortest" else self._tree(ids))

    def _tree(self, ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The minimal tree of some ids: each id in it with its one parent."""
        ways: dict[str, int] = {}  # from each id up to the root
        for name, above in self._parents.items():
            ways[name] = sum(ways[parent] for parent in above) if above else 1
        root = next(iter(self._parents))
        tree: dict[str, tuple[str, ...]] = {root: ()}
        depths = {root: 0}
        for name in sorted(set(ids), key=lambda name: (ways[name] > 1, name)):
            path = _way_to_the_tree(name, self._parents, depths)
            for parent, child in pairwise(path):
                tree[child], depths[child] = (parent,), depths[parent] + 1
        return tree

    def _check(self, *ids: str) -> None:
        unknown = [id for id in ids if id not in self._parents]
        if unknown:
            near = get_close_matches(str(unknown[0]), self._parents, n=1, cutoff=0)
            more = f" and {len(unknown) - 1} more unknown ones" if len(unknown) > 1 else ""
            raise ValueError(
                f"expected ids of the taxonomy, got {unknown[0]!r}{more}; the nearest it has is {near[0]!r}"
            )


def similarity(distances: Int[Tensor, "k k"], sigma: float = 2.0) -> Float[Tensor, "k k"]:
    """The similarity of classes, exp(-d^2 / (2 sigma^2)), in float64: 1 for a class and itself, towards 0 far away.

    Args:
        distances: Edges between every two classes, as `Taxonomy.distances` gives them.
        sigma: In edges, above 0.

    Raises:
        ValueError: sigma is not above 0, or the distances are no square matrix.

    Example:
        >>> similarity(torch.tensor([[0, 2], [2, 0]]))[0, 1]  # exp(-1/2)
        tensor(0.6065, dtype=torch.float64)
    """
    check.positive(sigma=sigma)
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
        raise ValueError(f"expected distances of shape (k, k), got {tuple(distances.shape)}")
    return torch.exp(-(distances.double() ** 2) / (2 * sigma**2))


def _downwards(parents: Mapping[str, tuple[str, ...]]) -> list[str]:
    """All ids, the root first and every id after its parents."""
    strange = [name for edges in parents.items() for name in (edges[0], *edges[1]) if not isinstance(name, str)]
    if strange:
        raise TypeError(f"expected ids that are strings, got {strange[0]!r}; write it as text")
    try:
        order = list(TopologicalSorter(parents).static_order())
    except CycleError as error:
        cycle = error.args[1][::-1]  # from child to parent
        raise ValueError(
            f"expected a taxonomy without cycles, got {_some(cycle, ' -> ')}; take out one of these edges"
        ) from None
    if not order:
        raise ValueError("expected at least one edge (child, parent), got none")
    roots = sorted(name for name in order if not parents.get(name))
    if len(roots) > 1:
        ends = set(order).difference(*parents.values())
        cure = "child and parent look swapped" if len(ends) == 1 else "give them one parent in common"
        raise ValueError(f"expected one root, got {len(roots)} ({_some(roots, ', ')}); {cure}")
    return order


def _climb(starts: Sequence[str], parents: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Some ids and all their ancestors, level by level, with the edges of the shortest way up from any of them."""
    found = dict.fromkeys(starts, 0)
    for name in (queue := list(found)):
        for parent in parents[name]:
            if parent not in found:
                found[parent] = found[name] + 1
                queue.append(parent)
    return found


def _way_to_the_tree(start: str, parents: Mapping[str, tuple[str, ...]], depths: Mapping[str, int]) -> list[str]:
    """The way down to an id from the nearest id of the tree; of several as near, from the one nearest the root."""
    below: dict[str, list[str]] = {start: [start]}  # each id of this level, with the way down from it
    while not (reached := [name for name in below if name in depths]):
        above: dict[str, list[str]] = {}
        for name, way in below.items():
            for parent in parents[name]:
                above.setdefault(parent, [parent, *way])
        below = above
    return below[min(reached, key=lambda name: (depths[name], name))]


def _distances(ids: Sequence[str], parents: Mapping[str, tuple[str, ...]]) -> Int[Tensor, "k k"]:
    """The least sum of two ways up to a common ancestor, in two sweeps over the edges, all ids at once."""
    wanted = _climb(ids, parents)
    rows = {name: row for row, name in enumerate(name for name in parents if name in wanted)}  # the root first
    edges = [(rows[child], rows[parent]) for child in rows for parent in parents[child]]
    far = 2 * len(rows)  # further than any two are
    steps = np.full((len(rows), len(ids)), far, np.int32)  # from each id up to each of its ancestors, ...
    asked = [rows[name] for name in ids]
    steps[asked, np.arange(len(ids))] = 0
    for child, parent in reversed(edges):
        np.minimum(steps[parent], steps[child] + 1, out=steps[parent])
    for child, parent in edges:  # ... and from there down to everything beneath it
        np.minimum(steps[child], steps[parent] + 1, out=steps[child])
    return torch.from_numpy(steps[asked].astype(np.int64))


def _some(names: Sequence[object], between: str, most: int = 5) -> str:
    return between.join(map(str, names[:most])) + (f"{between}..." if len(names) > most else "")
