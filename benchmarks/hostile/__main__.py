"""Unlucky and hostile input for every reader of files: damaged, then read in a process that is watched.

    python -m benchmarks.hostile --inputs 20000 [--seconds N] [--seed 0] [--readers "zip,params.yaml"]
    python -m benchmarks.hostile --again "zip/17" --seed 0

An input is made from the seed, the reader's name and its number, so that --again makes it once more. Each is counted as
accepted (and then used), refused (an error of this project on one line), or as one of the failures:

    executed   a program, code, a connection, an import, or a file written or read elsewhere
    traceback  any other error, or the end of the process
    memory     more than 1 GB next to what the process had
    slow       more than 10 s
    later      accepted, but it cannot be used
    message    what is printed or said has several lines, control characters, or no end

The files of each failure are left in --keep with a note of the command that makes them again. Results go to --out.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": ""}  # torch's threads do not survive a fork


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hostile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=20_000, help="of all readers together (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="stop after this time, whatever --inputs says")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", help="names, separated by commas, or of groups of readers (default: all)")
    parser.add_argument("--again", metavar="READER/NUMBER", help="read one input once more, and leave its files")
    parser.add_argument("--out", type=Path, help="write the results to this JSON file, next to those of other readers")
    kept = "folder for the files of failures (default: %(default)s)"
    parser.add_argument("--keep", type=Path, default=Path("hostile-failures"), help=kept)
    return parser.parse_args()


def main() -> int:
    """Command line; 1 when anything failed"""
    given = parse()
    import torch

    from benchmarks.hostile.campaign import FAILURES, OUTCOMES, run
    from benchmarks.hostile.image_readers import image_readers
    from benchmarks.hostile.model_readers import model_readers
    from benchmarks.hostile.record_readers import all_record_readers

    torch.set_num_threads(1)
    models, G = model_readers()
    readers = [*image_readers(G), *models, *all_record_readers()]
    if given.again:
        name, _, number = given.again.rpartition("/")
        readers = [reader for reader in readers if reader.name == name]
        plan: Iterator[tuple[int, int]] = iter([(0, int(number))])
    else:
        wanted = given.readers.split(",") if given.readers else None
        readers = [each for each in readers if wanted is None or each.name in wanted or each.group in wanted]
        plan = islice(((row, number) for number in count() for row in range(len(readers))), given.inputs)
    if not readers:
        sys.exit("--readers: no reader has this name")
    tallies, failed = {each.name: Tally(each) for each in readers}, 0
    for outcome in run(readers, within(plan, given.seconds), given.seed):
        tally = tallies[outcome.reader]
        tally.add(outcome)
        if outcome.outcome in FAILURES or given.again:
            failed += outcome.outcome in FAILURES
            keep(tally.reader, outcome, given)
            print(f"{outcome.reader}/{outcome.number}: {outcome.outcome}: {outcome.detail}", flush=True)
    rows = [tally.row(OUTCOMES) for tally in tallies.values()]
    print(table(rows, OUTCOMES))
    if given.out:
        save(given.out, rows, given.seed)
    return int(failed > 0)


class Tally:
    """What became of the inputs of one reader"""

    def __init__(self, reader: Any) -> None:
        self.reader, self.counts = reader, Counter[str]()
        self.seconds, self.slowest, self.most = 0.0, 0.0, 0

    def add(self, outcome: Any) -> None:
        self.counts[outcome.outcome] += 1
        self.seconds += outcome.seconds
        self.slowest = max(self.slowest, outcome.seconds)
        self.most = max(self.most, outcome.bytes)

    def row(self, outcomes: Iterable[str]) -> dict[str, Any]:
        """As plain values: seconds are those of the processor, bytes in MB"""
        counts = {name: self.counts[name] for name in outcomes}
        costs = {"sec": round(self.seconds, 1), "slowest_sec": round(self.slowest, 2)}
        names = {"reader": self.reader.name, "group": self.reader.group}
        return names | counts | costs | {"most_mb": round(self.most / 1e6)}


def save(path: Path, rows: list[dict[str, Any]], seed: int) -> None:
    """Write the results, and keep rows that the file has of other readers and the same seed."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"seed": seed, "rows": []}
    known = {row["reader"]: row for row in before["rows"] if before["seed"] == seed}
    path.parent.mkdir(parents=True, exist_ok=True)
    together = list((known | {row["reader"]: row for row in rows}).values())
    path.write_text(json.dumps({"seed": seed, "rows": together}, indent=1) + "\n", encoding="utf-8")


def within(plan: Iterator[tuple[int, int]], seconds: float | None) -> Iterator[tuple[int, int]]:
    """The plan, until the time is spent"""
    end = None if seconds is None else time.monotonic() + seconds
    for item in plan:
        if end is not None and time.monotonic() > end:
            return
        yield item


def keep(reader: Any, outcome: Any, given: argparse.Namespace) -> None:
    """Leave the files of an input, and how to make them again."""
    from benchmarks.hostile.reader import write

    folder = given.keep / f"{reader.name.replace(' ', '_').replace('/', '_')}-{outcome.number}"
    write(reader.input(given.seed, outcome.number), folder / "files")
    again = f"python -m benchmarks.hostile --seed {given.seed} --again {reader.name + '/' + str(outcome.number)!r}"
    (folder / "note.txt").write_text(
        f"{outcome.outcome}: {outcome.detail}\n{again}\n", encoding="utf-8", errors="replace"
    )


def table(rows: list[dict[str, Any]], outcomes: Iterable[str]) -> str:
    """A line for each reader, and their sum"""
    sums = {name: sum(row[name] for row in rows) for name in outcomes}
    lines = [f"{'':34}" + "".join(f"{name:>11}" for name in outcomes)]
    for row in [*rows, {"reader": f"all {sum(sums.values()):,}"} | sums]:
        lines.append(f"{row['reader']:34}" + "".join(f"{row[name] or '':>11}" for name in outcomes))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
