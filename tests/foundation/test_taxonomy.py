"""Distances in a taxonomy: by hand, against an enumeration of all ways, and their laws on random graphs."""

from random import Random

import networkx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp_plugins.foundation.taxonomy import METRICS, Taxonomy, similarity
from tests.oracles import taxonomy_distance

# the drawing of Dong et al.: tabby and Persian cat 2 apart, Persian cat and wolfhound 4
DRAWN = [("tabby", "cat"), ("Persian", "cat"), ("wolfhound", "dog"), ("cat", "animal"), ("dog", "animal")]
# the cat, the dog and the chair may be reached in two ways: by kind, and by what people keep
KEPT = [
    *[("cat", "feline"), ("feline", "carnivore"), ("carnivore", "animal"), ("animal", "thing")],
    *[("dog", "carnivore"), ("tiger", "feline"), ("wolf", "carnivore")],
    *[("cat", "pet"), ("dog", "pet"), ("pet", "thing")],
]


@st.composite
def edges(draw: st.DrawFn, most_parents: int = 3) -> list[tuple[str, str]]:
    """The edges of a random taxonomy of up to twelve ids, each with parents among those before it."""
    count = draw(st.integers(2, 12))
    pairs = []
    for number in range(1, count):
        above = draw(st.sets(st.integers(0, number - 1), min_size=1, max_size=most_parents))
        pairs += [(f"{number:02}", f"{parent:02}") for parent in above]
    return draw(st.permutations(pairs))


def broken_triangles(distances: torch.Tensor) -> int:
    """How many triples have a way round that is shorter than the way."""
    return int((distances[:, None] > distances[:, :, None] + distances[None]).sum())


@pytest.mark.parametrize("metric", METRICS)
def test_the_papers_drawing_has_the_papers_distances(metric: str):
    found = Taxonomy.from_edges(DRAWN).distances(["tabby", "Persian", "wolfhound"], metric)
    assert found.tolist() == [[0, 2, 4], [2, 0, 4], [4, 4, 0]]
    assert found.dtype == torch.int64


def test_the_shortest_way_may_go_through_any_parent():
    assert Taxonomy.from_edges(KEPT).distances(["cat", "dog"])[0, 1] == 2  # both are pets


def test_in_the_minimal_tree_a_class_has_one_parent_where_that_adds_the_fewest_edges():
    taxonomy = Taxonomy.from_edges(KEPT)
    # tiger and wolf have one way each; with them cat joins feline and dog carnivore, one edge each, without any pet
    assert taxonomy.distances(["cat", "dog", "tiger", "wolf"], "minimal tree").tolist() == [
        [0, 3, 2, 3],
        [3, 0, 3, 2],
        [2, 3, 0, 3],
        [3, 2, 3, 0],
    ]


def test_the_minimal_tree_depends_on_the_classes_that_it_is_made_for():
    assert Taxonomy.from_edges(KEPT).distances(["cat", "dog"], "minimal tree")[0, 1] == 2  # pet adds fewer edges


def test_of_joints_that_add_as_few_edges_the_one_nearest_the_root_is_taken():
    edges = [("deep", "middle"), ("middle", "root"), ("far", "root"), ("class", "deep"), ("class", "far")]
    found = Taxonomy.from_edges([*edges, ("one", "deep"), ("two", "far")]).distances(
        ["one", "two", "class"], "minimal tree"
    )
    assert found[2].tolist() == [5, 2, 0]


def test_a_class_may_be_the_ancestor_of_another():
    for metric in METRICS:
        found = Taxonomy.from_edges(DRAWN).distances(["cat", "tabby", "animal"], metric)
        assert found.tolist() == [[0, 1, 1], [1, 0, 2], [1, 2, 0]]


def test_an_id_may_be_asked_for_twice():
    for metric in METRICS:
        assert Taxonomy.from_edges(DRAWN).distances(["tabby", "tabby"], metric).tolist() == [[0, 0], [0, 0]]


@given(edges())
def test_the_shortest_way_is_the_shortest_of_all_ways_through_a_common_ancestor(edges: list[tuple[str, str]]):
    taxonomy = Taxonomy.from_edges(edges)
    parents = {id: taxonomy.parents(id) for id in taxonomy.ids}
    expected = [[taxonomy_distance(parents, a, b) for b in taxonomy.ids] for a in taxonomy.ids]
    assert taxonomy.distances(taxonomy.ids).tolist() == expected


@given(edges(), st.randoms())
def test_the_minimal_tree_is_the_same_whatever_the_order_of_the_classes(edges: list[tuple[str, str]], random: Random):
    taxonomy = Taxonomy.from_edges(edges)
    ids = taxonomy.ids[len(taxonomy.ids) // 2 :]
    order = random.sample(range(len(ids)), len(ids))
    found = taxonomy.distances(ids, "minimal tree")
    assert torch.equal(taxonomy.distances([ids[k] for k in order], "minimal tree"), found[order][:, order])


@given(edges())
def test_distances_are_symmetric_and_zero_only_from_a_class_to_itself(edges: list[tuple[str, str]]):
    taxonomy = Taxonomy.from_edges(edges)
    for metric in METRICS:
        found = taxonomy.distances(taxonomy.ids, metric)
        assert torch.equal(found, found.T)
        assert torch.equal(found == 0, torch.eye(len(found), dtype=torch.bool))


@given(edges())
def test_the_minimal_tree_is_never_shorter_than_the_shortest_way_and_keeps_the_triangle_inequality(
    edges: list[tuple[str, str]],
):
    taxonomy = Taxonomy.from_edges(edges)
    ids = taxonomy.ids[1::2]
    tree = taxonomy.distances(ids, "minimal tree")
    assert (tree >= taxonomy.distances(ids)).all()
    assert broken_triangles(tree) == 0


@given(edges(most_parents=1))
def test_in_a_tree_both_metrics_agree(edges: list[tuple[str, str]]):
    taxonomy = Taxonomy.from_edges(edges)
    assert torch.equal(taxonomy.distances(taxonomy.ids), taxonomy.distances(taxonomy.ids, "minimal tree"))


def test_with_two_parents_the_shortest_way_may_break_the_triangle_inequality():
    edges = [("fig", "fruit"), ("fig", "plant"), ("apple", "fruit"), ("weed", "plant")]
    rest = [("fruit", "food"), ("food", "root"), ("plant", "living"), ("living", "root")]
    found = Taxonomy.from_edges(edges + rest).distances(["apple", "fig", "weed"])
    assert found.tolist() == [[0, 2, 6], [2, 0, 2], [6, 2, 0]]


def test_depth_is_the_shortest_way_to_the_root():
    taxonomy = Taxonomy.from_edges(KEPT)
    assert [taxonomy.depth(id) for id in ("thing", "pet", "cat", "wolf")] == [0, 1, 2, 3]


def test_ancestors_come_nearest_first_with_their_distance_and_begin_with_the_id_itself():
    found = Taxonomy.from_edges(KEPT).ancestors("cat")
    assert list(found.items()) == [("cat", 0), ("feline", 1), ("pet", 1), ("carnivore", 2), ("thing", 2), ("animal", 3)]


def test_ids_and_parents_are_in_alphabetical_order():
    taxonomy = Taxonomy.from_edges(KEPT)
    assert taxonomy.ids == tuple(sorted(taxonomy.ids))
    assert (taxonomy.parents("cat"), taxonomy.parents("thing")) == (("feline", "pet"), ())


def test_a_pair_that_comes_twice_counts_once():
    assert Taxonomy.from_edges([("a", "b"), ("a", "b")]).parents("a") == ("b",)


def test_a_networkx_graph_gives_the_same_taxonomy_as_its_edges():
    taxonomy = Taxonomy.from_networkx(networkx.DiGraph(KEPT))
    ids = taxonomy.ids
    assert torch.equal(taxonomy.distances(ids), Taxonomy.from_edges(KEPT).distances(ids))


def test_a_graph_without_directions_is_refused():
    with pytest.raises(TypeError, match=r"expected a networkx\.DiGraph with edges from child to parent, got Graph"):
        Taxonomy.from_networkx(networkx.Graph(KEPT))


def test_a_cycle_is_shown_from_child_to_parent():
    with pytest.raises(ValueError, match=r"without cycles, got (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c);"):
        Taxonomy.from_edges([("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")])


def test_an_id_above_itself_is_a_cycle():
    with pytest.raises(ValueError, match="without cycles, got a -> a; take out one"):
        Taxonomy.from_edges([("a", "a"), ("a", "b")])


def test_several_roots_are_named():
    with pytest.raises(ValueError, match=r"expected one root, got 2 \(b, d\); give them one parent in common"):
        Taxonomy.from_edges([("a", "b"), ("c", "d")])


def test_of_many_roots_the_first_are_named():
    with pytest.raises(ValueError, match=r"got 9 \(p1, p2, p3, p4, p5, \.\.\.\)"):
        Taxonomy.from_edges([(f"c{k}", f"p{k}") for k in range(1, 10)])


def test_a_taxonomy_upside_down_is_recognised():
    with pytest.raises(ValueError, match=r"got 3 \(Persian, tabby, wolfhound\); child and parent look swapped"):
        Taxonomy.from_edges([(parent, child) for child, parent in DRAWN])


def test_no_edges_are_refused():
    with pytest.raises(ValueError, match=r"expected at least one edge \(child, parent\), got none"):
        Taxonomy.from_edges([])


@pytest.mark.parametrize("edge", [("a", "b", "c"), "ab"])
def test_what_is_no_pair_is_refused(unchecked: None, edge: object):
    with pytest.raises(ValueError, match=r"expected edges \(child, parent\), got "):
        Taxonomy.from_edges([edge])


def test_an_id_that_is_no_string_is_refused(unchecked: None):
    with pytest.raises(TypeError, match="expected ids that are strings, got 1; write it as text"):
        Taxonomy.from_edges([("a", 1)])


def test_an_unknown_id_is_told_with_the_nearest():
    with pytest.raises(
        ValueError, match="expected ids of the taxonomy, got 'wolfhond'; the nearest it has is 'wolfhound'"
    ):
        Taxonomy.from_edges(DRAWN).depth("wolfhond")


def test_further_unknown_ids_are_counted():
    with pytest.raises(ValueError, match="got 'wolfhond' and 2 more unknown ones; the nearest"):
        Taxonomy.from_edges(DRAWN).distances(["tabby", "wolfhond", "x", "y"])


def test_no_ids_are_refused():
    with pytest.raises(ValueError, match="expected at least one id, got none"):
        Taxonomy.from_edges(DRAWN).distances([])


def test_an_unknown_metric_is_refused(unchecked: None):
    with pytest.raises(ValueError, match="expected metric to be one of 'shortest', 'minimal tree', got 'path'"):
        Taxonomy.from_edges(DRAWN).distances(["tabby"], "path")


@pytest.mark.parametrize(
    ("sigma", "expected"), [(2.0, (1, 0.803265, 0.567668, 0.528267)), (1.0, (1, 0.567668, 0.500168, 0.363557))]
)
def test_the_similarity_gives_the_golden_values_of_the_papers_drawing(sigma: float, expected: tuple[float, ...]):
    alike = similarity(Taxonomy.from_edges(DRAWN).distances(["tabby", "Persian", "wolfhound"]), sigma)
    histograms = torch.tensor([[1, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [1 / 3] * 3], dtype=torch.float64)
    found = ((histograms @ alike) * histograms).sum(1)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    assert alike.dtype == torch.float64


def test_sigma_has_to_be_above_zero():
    with pytest.raises(ValueError, match="expected sigma above 0, got 0"):
        similarity(torch.zeros(1, 1, dtype=torch.int64), 0)


def test_distances_have_to_be_a_square(unchecked: None):
    with pytest.raises(ValueError, match=r"expected distances of shape \(k, k\), got \(2, 3\)"):
        similarity(torch.zeros(2, 3, dtype=torch.int64))
