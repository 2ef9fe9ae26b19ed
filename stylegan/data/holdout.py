"""Which images are never trained on: a share of all, drawn class by class, that leaves every class images to learn."""

import hashlib
from collections import Counter
from collections.abc import Sequence

SMALLEST_SPLIT = 4  # images; a smaller class is trained on whole, for one image would be a third of it or more


def choose_holdout(
    groups: Sequence[str], fraction: float, seed: int, classes: Sequence[int | None] | None = None
) -> set[str]:
    """Groups whose images together come nearest to a fraction of each class, in the order of a hash of seed and name.

    groups, classes: one for each image; without classes all images are one. Images of a group stay together. What a
    class lacks by less than an image passes to the next one, so that many small classes give their share together.
    The order of two groups does not depend on the others, so a set that grows keeps nearly all of its split.
    """
    classes = [None] * len(groups) if classes is None else classes
    inside: dict[str, Counter[int | None]] = {}
    for name, label in zip(groups, classes, strict=True):
        inside.setdefault(name, Counter())[label] += 1
    sizes = Counter(classes)
    left, chosen, carried = Counter(sizes), set[str](), 0.0
    order = sorted(inside, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest())
    members: dict[int | None, list[str]] = {label: [] for label in sizes}
    for name in order:
        members[next(iter(inside[name]))].append(name)  # copies in several classes are drawn with the first of them
    for label in sorted(sizes, key=lambda label: -1 if label is None else label):
        if sizes[label] < SMALLEST_SPLIT:
            continue
        missing = fraction * sizes[label] + carried
        for name in members[label]:
            size = inside[name].total()
            spares = all(left[c] > count and sizes[c] >= SMALLEST_SPLIT for c, count in inside[name].items())
            if abs(missing - size) < missing and spares:
                chosen.add(name)
                missing -= size
                left.subtract(inside[name])
        carried = missing if abs(missing) < 1 else 0.0
    return chosen
