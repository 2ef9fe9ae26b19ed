"""`stylegan doctor` starts a real Ray."""

from collections.abc import Callable

import pytest

from pipelines.doctor import services
from pipelines.params import Params


@pytest.mark.distributed
@pytest.mark.slow
def test_ray_starts_on_this_machine_and_runs_a_task(
    make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (found,) = services.check_ray(make_params("cluster.address=null"))
    assert (found.state, found.text) == ("ok", "starts on this machine and runs a task")
