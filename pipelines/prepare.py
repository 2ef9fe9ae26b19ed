"""Stage `prepare`: the images that prepare.source names -> data/archive.zip and data/manifest.json."""

import os
import sys
from collections import Counter
from pathlib import Path

from pipelines.artifacts import manifest_json
from pipelines.artifacts.workspace import ARCHIVE, MANIFEST
from pipelines.assets import ASSETS
from pipelines.cluster.progress import track
from pipelines.params import load
from stylegan.config import ConfigError
from stylegan.config.sections import PrepareConfig
from stylegan.data.archive import (
    ArchiveError,
    Plan,
    check_all,
    convert_all,
    label_vectors,
    list_bad,
    plan_archive,
    write_archive,
)
from stylegan.data.sources import open_source

EARTH = ASSETS / "earth" / "bmng.jpg"


def prepare(config: PrepareConfig, archive: Path, manifest_path: Path, earth: Path, workers: int) -> Plan:
    """Check every file, then convert the good ones; nothing is written before all are checked.

    Raises ArchiveError that names the files which cannot be used and the remedy.
    """
    source = open_source(config, earth)
    total = len(source.names)
    checks = list(track(check_all(source, config, workers), total, "checking"))
    plan = plan_archive(source, checks, config)
    if plan.bad:
        print(list_bad(plan.bad, total + len(source.bad)), "Left out, as prepare.bad_files is skip.", sep="\n")
    pngs = convert_all(source, plan, config, workers)
    digest = write_archive(archive, plan, track(pngs, len(plan.entries), "converting"))
    manifest = manifest_json.describe(source, plan, config, digest)
    manifest_json.write(manifest_path, manifest)
    print(summary(plan, archive, manifest.num_enlarged, len(source.ignored)))
    return plan


def summary(plan: Plan, archive: Path, num_enlarged: int, num_ignored: int) -> str:
    """What the archive holds, in a few lines."""
    split = Counter(entry.split for entry in plan.entries)
    classes = Counter(entry.label for entry in plan.entries if isinstance(entry.label, int))
    names = plan.class_names or [str(label) for label in range(max(classes, default=-1) + 1)]
    lines = [
        f"{archive}: {len(plan.entries)} images {plan.mode}, {split['train']} to train, {split['holdout']} held out"
    ]
    if classes:
        lines.append("classes: " + ", ".join(f"{name} {classes[label]}" for label, name in enumerate(names)))
    vectors = label_vectors(plan.entries)
    if vectors:
        counts = ", ".join(map(str, vectors.num_images))
        lines.append(f"labels: vectors of {len(vectors.max)} numbers, which are not 0 in {counts} images")
    if num_enlarged:
        lines.append(f"{num_enlarged} images are smaller than prepare.resolution and were enlarged")
    if num_ignored:
        lines.append(f"{num_ignored} files are not images by their names and were ignored; the manifest lists them")
    return "\n".join(lines)


def main() -> None:
    """Prepare what params.yaml says, with `section.key=value` arguments over it."""
    config = load(overrides=sys.argv[1:]).prepare
    prepare(config, ARCHIVE, MANIFEST, EARTH, workers=os.cpu_count() or 1)


if __name__ == "__main__":
    try:
        main()
    except (ArchiveError, ConfigError, FileNotFoundError) as error:
        sys.exit(f"prepare: {error}")
