"""How many trials run at once: as many as sweep.max_concurrent_trials says, but no more than there is room for.

The process of a trial reserves nothing, so Tune would also start trials whose workers find no room. Here a trial is not
started before the nodes can hold it.
"""

import time
from typing import Any

from ray import tune
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, Searcher
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from pipelines.cluster.capacity import most_workers
from pipelines.cluster.connection import address_of
from pipelines.cluster.nodes import alive
from pipelines.params import ClusterConfig, SweepConfig
from stylegan.text import print_lines
from stylegan.wording import counted

LOOK_SEC = 5.0  # between looks at the nodes


class Room(tune.Callback):  # type: ignore[misc]
    """Starts no more trials than have room, while nodes join and leave.

    A population is not limited: its members wait for each other, so all of them have to begin, and they take turns.
    cluster: the workers of one trial.
    """

    def __init__(self, sweep: SweepConfig, cluster: ClusterConfig, searcher: Searcher | None) -> None:
        self.sweep, self.cluster = sweep, cluster
        most = sweep.max_concurrent_trials
        self.search = ConcurrencyLimiter(searcher, most) if searcher else BasicVariantGenerator(max_concurrent=most)
        self._fit: int | None = None
        self._next_look = 0.0
        self._asked: PlacementGroup | None = None

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if time.monotonic() >= self._next_look:
            self.look()
            self._next_look = time.monotonic() + LOOK_SEC

    def look(self) -> None:
        """Count the trials that nodes can hold, and start no more than these."""
        wanted, workers = self.sweep.max_concurrent_trials, self.cluster.min_workers
        fit = most_workers([node["Resources"] for node in alive()], self.cluster.resources) // workers
        if fit < wanted and fit != self._fit:
            print_lines(
                f"there is room for {counted(fit, 'trial')} at once, of sweep.max_concurrent_trials {wanted}; the "
                "others wait for their turn"
            )
        elif self._fit is not None and self._fit < wanted <= fit:
            print_lines(f"there is room for all of sweep.max_concurrent_trials {wanted}")
        self._fit = fit
        if self.sweep.scheduler != "pbt":
            self.search.max_concurrent = max(1, min(fit, wanted))
        self._ask_for_one_more(is_wanted=fit < wanted)

    def _ask_for_one_more(self, *, is_wanted: bool) -> None:
        """Keep room for another trial asked for, so that an autoscaler sees it; it is given back as soon as granted."""
        if self._asked is not None and (not is_wanted or self._asked.wait(0)):
            self.close()
        elif self._asked is None and is_wanted and address_of(self.cluster) is not None:
            self._asked = placement_group([dict(self.cluster.resources)] * self.cluster.min_workers)

    def close(self) -> None:
        """Ask for no more room."""
        if self._asked is not None:
            remove_placement_group(self._asked)
            self._asked = None
