"""A rank that keeps all others waiting, found in the tick log."""

from collections.abc import Mapping, Sequence

from pipelines.diagnosis.alarms import Alarm
from pipelines.diagnosis.thresholds import SLOW, SLOW_TICKS


def slow_rank(rows: Sequence[Mapping[str, float]], nodes: Sequence[str]) -> Alarm | None:
    """One rank of several nodes keeps all others waiting, at the end of the log; nodes are those of the ranks now."""
    recent = rows[-SLOW_TICKS:]
    found = {row.get("ranks/slowest") for row in recent}
    slow = [
        row["ranks/busy_sec_per_kimg_max"] > SLOW * row["ranks/busy_sec_per_kimg_median"]
        for row in recent
        if "ranks/slowest" in row
    ]
    if len({*nodes}) < 2 or len(found) > 1 or len(slow) < SLOW_TICKS or not all(slow):
        return None
    last, number = recent[-1], round(recent[-1]["ranks/slowest"])
    node = nodes[number] if number < len(nodes) else "an unknown node"
    slowest, others = last["ranks/busy_sec_per_kimg_max"], last["ranks/busy_sec_per_kimg_median"]
    return Alarm(
        f"slow-node-{number}",
        last["kimg"],
        f"At kimg {last['kimg']:.4g} rank {number} on {node} takes {slowest:.3g} s for 1000 images of its own, the "
        f"others {others:.3g}.",
        "All wait for it: other work, a hot or another GPU, a slow disk.",
        f"Look at {node} (`python -m pipelines.cluster status`); `ray drain-node` takes it out, and training goes on "
        "elsewhere.",
        None,
    )
