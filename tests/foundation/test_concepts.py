import pytest

from interp_plugins.foundation.concepts import Concept, Vocabulary

RED, STREET, DOG = Concept(1, "red-c", "color"), Concept(4, "street-s", "scene"), Concept(7, "dog", "object")


def test_a_vocabulary_knows_the_category_of_each_number():
    vocabulary = Vocabulary((RED, STREET, DOG), ("object", "scene", "color"))
    assert vocabulary.size == 8
    assert vocabulary.category_of.tolist() == [-1, 2, -1, -1, 1, -1, -1, 0]


def test_names_lose_the_ending_of_their_own_category_only():
    vocabulary = Vocabulary((RED, Concept(2, "vitamin-c", "object"), STREET), ("object", "scene", "color"))
    assert [vocabulary.name(number) for number in (1, 2, 4)] == ["red", "vitamin-c", "street"]


@pytest.mark.parametrize("concepts", [(), (STREET, RED), (RED, RED), (Concept(0, "none", "color"),)])
def test_numbers_must_ascend_from_one(concepts):
    with pytest.raises(ValueError, match="expected concepts with ascending numbers from 1, got"):
        Vocabulary(concepts, ("color", "scene"))


def test_each_concept_must_be_of_a_category_that_is_asked_about():
    with pytest.raises(ValueError, match="expected categories of color, scene, got 'object' for 'dog'"):
        Vocabulary((RED, DOG), ("color", "scene"))
