"""A rank that keeps all others waiting, found in the tick log."""

from collections.abc import Sequence

from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis.alarms import Alarm
from pipelines.diagnosis.thresholds import SLOW, SLOW_TICKS


def slow_rank(rows: Sequence[TickRow], nodes: Sequence[str]) -> Alarm | None:
    """One rank of several nodes keeps all others waiting, at the end of the log; nodes are those of the ranks now."""
    recent = rows[-SLOW_TICKS:]
    found = {row.ranks.slowest for row in recent}
    busy = [(row.ranks.busy_sec_per_kimg_max, row.ranks.busy_sec_per_kimg_median) for row in recent]
    slow = [most > SLOW * median for most, median in busy if most is not None and median is not None]
    if len({*nodes}) < 2 or len(found) > 1 or len(slow) < SLOW_TICKS or not all(slow):
        return None
    (number,), (slowest, others) = found, busy[-1]
    assert number is not None, "a row with busy times has the slowest rank"
    node = nodes[number] if number < len(nodes) else "an unknown node"
    return Alarm(
        f"slow-node-{number}",
        recent[-1].kimg,
        f"At kimg {recent[-1].kimg:.4g} rank {number} on {node} takes {slowest:.3g} s for 1000 images of its own, the "
        f"others {others:.3g}.",
        "All wait for it: other work, a hot or another GPU, a slow disk.",
        f"Look at {node} (`python -m pipelines.cluster status`); `ray drain-node` takes it out, and training "
        "continues on other nodes.",
        None,
    )
