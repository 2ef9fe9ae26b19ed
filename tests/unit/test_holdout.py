"""stylegan.data.holdout: which images are never trained on, and what every class keeps."""

import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylegan.data.holdout import SMALLEST_SPLIT, choose_holdout

SIZES = st.dictionaries(st.integers(0, 30), st.integers(1, 40), min_size=1, max_size=12)
FRACTIONS = st.floats(0, 0.95)
SEEDS = st.integers(0, 2**32)


def images_of(sizes: dict[int, int]) -> tuple[list[str], list[int]]:
    classes = [label for label, size in sizes.items() for _ in range(size)]
    return [f"image{number}" for number in range(len(classes))], classes


@given(SIZES, FRACTIONS, SEEDS)
def test_every_class_keeps_an_image_to_train_on_and_a_small_class_all(
    sizes: dict[int, int], fraction: float, seed: int
) -> None:
    names, classes = images_of(sizes)
    held = choose_holdout(names, fraction, seed, classes)
    left = Counter(label for name, label in zip(names, classes, strict=True) if name not in held)
    assert left.keys() == sizes.keys()
    assert all(left[label] == size for label, size in sizes.items() if size < SMALLEST_SPLIT)


@given(SIZES, FRACTIONS, SEEDS)
def test_every_class_holds_out_its_share_to_within_an_image_and_a_half(
    sizes: dict[int, int], fraction: float, seed: int
) -> None:
    """Half an image is the rounding of a class; up to one is carried over from the class before it."""
    names, classes = images_of(sizes)
    held = choose_holdout(names, fraction, seed, classes)
    found = Counter(label for name, label in zip(names, classes, strict=True) if name in held)
    for label, size in sizes.items():
        if size >= SMALLEST_SPLIT:
            assert abs(found[label] - min(fraction * size, size - 1)) <= 1.5


def test_many_small_classes_hold_out_their_share_together() -> None:
    names, classes = images_of(dict.fromkeys(range(200), 5))
    assert len(choose_holdout(names, 0.05, 0, classes)) == 50


@given(st.lists(st.integers(0, 20), min_size=SMALLEST_SPLIT, max_size=60), FRACTIONS, SEEDS)
def test_copies_stay_together_and_never_take_the_last_image_of_a_class(
    contents: list[int], fraction: float, seed: int
) -> None:
    """Copies of an image may lie in several classes."""
    groups, classes = [f"content{content}" for content in contents], [number % 3 for number in range(len(contents))]
    held = choose_holdout(groups, fraction, seed, classes)
    left = {label for group, label in zip(groups, classes, strict=True) if group not in held}
    assert left == set(classes)


@pytest.mark.parametrize("seed", range(5))
def test_without_classes_the_order_is_that_of_a_hash_alone(seed: int) -> None:
    names = [f"image{number}" for number in range(100)]
    ordered = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    assert choose_holdout(names, 0.2, seed) == set(ordered[:20])
