"""Replicas: what is started and ended on a cluster, on a stand-in for Ray Serve, which the extra `serve` brings."""

import asyncio
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import ray

from pipelines.params import Params, TrackingConfig
from pipelines.serve import source
from stylegan.checkpoint import save_generator
from stylegan.networks import Generator
from tests.asgi import answered

MODULE = "pipelines.serve.on_ray"


class Deployment:
    """One that remembers what it was given."""

    def options(self, **_: object) -> "Deployment":
        return self

    def bind(self, options: Any) -> Any:
        return options


class FakeServe(ModuleType):
    """The functions that are called, in their order."""

    Application = object

    def __init__(self) -> None:
        super().__init__("ray.serve")
        self.calls: list[str] = []
        self.others: list[str] = []  # applications of other people
        self.bound: Any = None
        self.error: BaseException | None = None  # while replicas load

    def deployment(self, **_: object) -> Callable[[object], Deployment]:
        return lambda _: Deployment()

    def ingress(self) -> Callable[[object], object]:
        return lambda each: each

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(
            proxies={"node": "HEALTHY"} if self.others else {}, applications=dict.fromkeys(self.others)
        )

    def start(self, **_: object) -> None:
        self.calls.append("start")

    def run(self, bound: Any, name: str) -> None:
        self.calls.append(f"run {name}")
        self.bound = bound
        if self.error is not None:
            raise self.error

    def delete(self, name: str) -> None:
        self.calls.append(f"delete {name}")

    def shutdown(self) -> None:
        self.calls.append("shutdown")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> FakeServe:
    found = FakeServe()
    monkeypatch.setitem(sys.modules, "ray.serve", found)
    monkeypatch.setattr(ray, "serve", found, raising=False)
    return found


@pytest.fixture
def on_ray(serve: FakeServe) -> Iterator[Any]:
    """The module, as it is imported with the stand-in"""
    sys.modules.pop(MODULE, None)
    yield importlib.import_module(MODULE)
    del sys.modules[MODULE]


@pytest.fixture
def file(repository: Path) -> Path:
    return repository / "infra/serve/ray.yaml"


def test_serve_is_ended_with_what_it_was_started_for(serve: FakeServe, on_ray: Any, file: Path) -> None:
    with on_ray.running(file, {"http_options": {"port": 8123}}) as address:
        assert address == "http://127.0.0.1:8123"
        assert serve.calls == ["start", "run stylegan"]
    assert serve.calls[2:] == ["shutdown"]


@pytest.mark.parametrize("error", [RuntimeError("no such file"), KeyboardInterrupt()])
def test_what_fails_while_replicas_load_leaves_nothing_on_the_cluster(
    error: BaseException, serve: FakeServe, on_ray: Any, file: Path
) -> None:
    serve.error = error
    with pytest.raises(type(error)), on_ray.running(file):
        raise AssertionError("it has not started")
    assert serve.calls == ["start", "run stylegan", "shutdown"]


@pytest.mark.parametrize("fails", [False, True])
def test_applications_of_other_people_go_on(
    fails: bool, serve: FakeServe, on_ray: Any, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve.others, serve.error = ["other"], RuntimeError("no such file") if fails else None
    raised = pytest.raises(RuntimeError, match="no such file") if fails else nullcontext()
    with raised, on_ray.running(file) as address:
        assert address == ""
    assert serve.calls == ["start", "run stylegan", "delete stylegan"]
    assert capsys.readouterr().out == (
        f"{file}: http_options are ignored, because Serve already runs on this cluster. It answers on the host and "
        "port that it was started with.\n"
    )


def test_an_application_of_the_same_name_is_neither_replaced_nor_ended(
    serve: FakeServe, on_ray: Any, file: Path
) -> None:
    serve.others = ["stylegan"]
    message = r"already runs an application stylegan\. Choose another name"
    with pytest.raises(RuntimeError, match=message), on_ray.running(file):
        pass
    assert serve.calls == []


def test_an_alias_is_followed_once_and_every_replica_asks_the_same_server(
    serve: FakeServe, on_ray: Any, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    best, fetched = "3", []

    def name_version(model: str, tracking: TrackingConfig) -> str:
        assert model == "models:/photos-16@best"
        return f"models:/photos-16/{best}"

    def fetch_generator(model: str, tracking: TrackingConfig, folder: Path) -> Path:
        fetched.append((model, tracking.uri))
        return folder / "generator.safetensors"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://registry.example")
    monkeypatch.setattr(source, "name_version", name_version)
    monkeypatch.setattr(source, "fetch_generator", fetch_generator)
    monkeypatch.setattr(on_ray, "load_service", lambda *_, **how: None)
    with on_ray.running(file, {"args": {"model": "models:/photos-16@best"}}):
        on_ray.Drawing(serve.bound)
        best = "4"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere.example")  # on another node
        on_ray.Drawing(serve.bound)
    assert fetched == [("models:/photos-16/3", "http://registry.example")] * 2
    assert on_ray.build(on_ray.Options(model="models:/photos-16@best")).model == "models:/photos-16/4"
    assert Path(on_ray.absolute(on_ray.Options(model="models/generator.safetensors")).model).is_absolute()


def test_replicas_refuse_another_host_name_where_serve_listens_on_this_machine_alone(
    serve: FakeServe, on_ray: Any, file: Path, tiny_params: Params, tmp_path: Path
) -> None:
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0).eval()
    save_generator(G, tmp_path / "generator.safetensors")
    for host, status in (("127.0.0.1", 403), ("0.0.0.0", 200)):
        changes = {"args": {"model": str(tmp_path / "generator.safetensors")}, "http_options": {"host": host}}
        with on_ray.running(file, changes):
            app = on_ray.Drawing(serve.bound).__serve_build_asgi_app__()
        assert asyncio.run(answered(app, "GET", "/model", {}, {"Host": "evil.example"}))[0] == status
