"""Whatever mixture of files a source holds, every file is an image of the archive, not drawn, bad or ignored."""

import io
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.params import Params
from stylegan.data.archive import ArchiveError, check_all, manifest, plan_archive, refuse_losses
from stylegan.data.files import Files
from stylegan.data.sources import image_files
from stylegan.data.transforms import check_image
from tests.photos import BAD, HEIC, encode, picture

Make = Callable[..., Params]
FRACTIONS = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9])


@cache
def content(kind: str, number: int) -> bytes:
    if kind in BAD:
        return BAD[kind][1](number)
    if kind == "heic":
        return HEIC
    size = (24, 16) if kind == "wide" else (16, 16)
    mode = kind if kind in ("L", "P", "RGBA") else "RGB"
    return encode(picture(number, *size, mode), "png")


SUFFIX = {"notes": ".txt", "heic": ".heic"}
KINDS = st.sampled_from(["RGB", "L", "P", "RGBA", "wide", "heic", "notes", *BAD])
FILES = st.lists(st.tuples(KINDS, st.sampled_from(["", "a/", "b/", "c/"]), st.integers(0, 5)), min_size=1, max_size=12)


@given(
    FILES,
    FRACTIONS,
    st.sampled_from(["none", "center-crop"]),
    st.sampled_from(["none", "folders"]),
    st.sampled_from(["RGB", "keep"]),
    st.sampled_from([None, 3]),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_counts_of_the_manifest_add_up(
    tiny_params: Params,
    files: list[tuple[str, str, int]],
    fraction: float,
    transform: str,
    labels: str,
    mode: str,
    max_images: int | None,
    allowed: float,
) -> None:
    config = tiny_params.prepare.model_copy(
        update={"holdout_fraction": fraction, "transform": transform, "labels": labels, "mode": mode}
        | {"max_images": max_images, "max_bad_share": allowed, "resolution": 16}
    )
    data = {
        f"{folder}{number}{SUFFIX.get(kind, '.png')}": content(kind, copy)
        for number, (kind, folder, copy) in enumerate(files)
        if kind != "notes"
    }
    notes = [f"{number}.txt" for number, (kind, _, _) in enumerate(files) if kind == "notes"]
    try:
        names = [*sorted(data), *notes]
        files_of_source = Files(
            "s/", names, lambda at: data[names[at]], lambda at: io.BytesIO(data[names[at]]), lambda at: data[names[at]]
        )
        source = image_files(files_of_source, config)
    except ArchiveError:  # there is no image by its name, or no sub-folder
        assert not data or (labels == "folders" and len({PurePosixPath(name).parent for name in data}) == 1)
        return
    plan = plan_archive(source, list(check_all(source, config, workers=1)), config)
    facts = manifest(source, plan, config, "")
    assert facts["num_found"] + len(facts["ignored_files"]) == len(files)
    assert facts["num_found"] == facts["num_images"] + facts["num_not_drawn"] + facts["num_bad"]
    assert facts["num_images"] == len(facts["images"]) == sum(facts["split"].values())
    assert facts["num_bad"] == len(facts["bad_files"]) == sum(facts["bad_kinds"].values())
    assert sum(facts["class_counts"].values()) == (facts["num_images"] if labels == "folders" else 0)
    named = [entry["source"] for key in ("images", "bad_files") for entry in facts[key]]
    assert len(named) == len(set(named))
    share = facts["num_bad"] / facts["num_found"]
    if share > allowed or share == 1:
        with pytest.raises(ArchiveError):
            refuse_losses(source, plan, config)
        return
    refuse_losses(source, plan, config)
    trained = Counter(entry["label"] for entry in facts["images"] if entry["split"] == "train")
    assert trained.keys() == {entry["label"] for entry in facts["images"]}


@pytest.mark.parametrize(("kind", "is_good"), [("RGB", True), ("P", True), ("lab", False), ("heic", False)])
def test_the_mixture_has_good_and_bad_files(make_params: Make, kind: str, is_good: bool) -> None:
    """Otherwise the sums above would be of nothing."""
    assert (check_image(content(kind, 0), make_params().prepare).problem is None) == is_good
