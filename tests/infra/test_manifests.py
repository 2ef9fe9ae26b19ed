"""What infra/ holds is well-formed, agrees with the lock and itself, is guarded, and holds no secret.

Ray's cluster files are checked against Ray's own schema. Kubernetes' objects are checked by hand (names, selectors,
ports, probes, resources), and against Kubernetes' schemas where the package kubernetes-validate is installed; it is no
dependency, for it weighs 108 MB. Compose files and KubeRay's own kinds have no schema here.
"""

import ast
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml

from pipelines.params import load

INFRA = Path(__file__).resolve().parent.parent.parent / "infra"
RAY_FILES = sorted((INFRA / "ray").glob("*.yaml"))
KUBERNETES_FILES = sorted([*(INFRA / "kuberay").glob("*.yaml"), INFRA / "mlflow/kubernetes.yaml"])
DOCKERFILES = sorted((INFRA / "docker").iterdir())
COMPOSE = INFRA / "mlflow/compose.yaml"
SHARED = "/mnt/stylegan"

# Places that name every interface: inside a container's or the cluster's own network, published by nothing.
LISTENS = {
    "infra/mlflow/serve.sh": 1,  # HOST; compose publishes it on 127.0.0.1, Kubernetes as a ClusterIP
    "infra/mlflow/compose.yaml": 2,  # the store on the internal network; and the comment that tells how to open MLflow
    "infra/mlflow/kubernetes.yaml": 1,  # the store, behind a NetworkPolicy
    "infra/kuberay/raycluster.yaml": 1,  # Ray's dashboard, behind a NetworkPolicy and a token
    "infra/kuberay/rayjob.yaml": 1,
}


def name_of(path: Path) -> str:
    return path.relative_to(INFRA.parent).as_posix()


def each(files: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("file", files, ids=name_of)


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def kubernetes_objects() -> list[dict[str, Any]]:
    return [document for file in KUBERNETES_FILES for document in documents(file)]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and template of every kind of pod"""
    for item in kubernetes_objects():
        name, spec = f"{item['kind']} {item['metadata']['name']}", item.get("spec", {})
        cluster = spec.get("rayClusterSpec", spec)
        if "headGroupSpec" in cluster:
            yield f"{name} head", cluster["headGroupSpec"]["template"]
            for group in cluster["workerGroupSpecs"]:
                yield f"{name} {group['groupName']}", group["template"]
        elif item["kind"] in ("Deployment", "StatefulSet"):
            yield name, spec["template"]


PODS = dict(pods())
every_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)


def ray_specs() -> dict[str, dict[str, Any]]:
    """spec of the RayCluster, and that inside the RayJob"""
    specs = {item["kind"]: item["spec"] for item in kubernetes_objects() if item["kind"].startswith("Ray")}
    return {kind: spec.get("rayClusterSpec", spec) for kind, spec in specs.items()}


@pytest.fixture(scope="module")
def locked(repository: Path) -> dict[str, str]:
    """Version of each package in constraints.txt"""
    lines = (repository / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    values: dict[str, Any] = tomllib.loads((repository / "pyproject.toml").read_text())
    return values


# --- Ray's cluster launcher


@each(RAY_FILES)
def test_ray_accepts_the_cluster_file(file: Path) -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    # Ray takes the two numbers from the file before it validates a local cluster, and adds its own node type.
    config = {key: value for key, value in documents(file)[0].items() if key != "min_workers"}
    jsonschema.Draft7Validator(schema).validate(config)


@each(RAY_FILES)
def test_the_repository_reaches_every_node_and_is_installed_with_the_lock(file: Path) -> None:
    config = documents(file)[0]
    assert config["file_mounts"][f"{SHARED}/project"] == "."
    (setup,) = config["setup_commands"]
    assert setup.endswith(f"bash {SHARED}/project/infra/ray/setup.sh")
    assert config["rsync_exclude"] == documents(RAY_FILES[-1])[0]["rsync_exclude"]


@each(RAY_FILES)
def test_a_lost_node_is_noticed_in_seconds(file: Path) -> None:
    (start,) = (line for line in documents(file)[0]["head_start_ray_commands"] if "ray start" in line)
    for name in ("initial_delay_ms", "period_ms", "timeout_ms", "failure_threshold"):
        assert re.search(rf"RAY_health_check_{name}=\d+ ", start), name


@each(RAY_FILES)
def test_the_dashboard_is_the_heads_own_and_workers_find_the_head(file: Path) -> None:
    config = documents(file)[0]
    assert any("--dashboard-host=127.0.0.1" in line for line in config["head_start_ray_commands"])
    assert any("--address=$RAY_HEAD_IP:6379" in line for line in config["worker_start_ray_commands"])


def test_machines_at_hand_are_started_by_the_autoscaler_that_can(repository: Path) -> None:
    """Ray 2.60's second autoscaler never starts the workers of a local provider."""
    commands = documents(INFRA / "ray/on-prem.yaml")[0]["head_start_ray_commands"]
    assert any("RAY_enable_autoscaler_v2=0" in line for line in commands)


def test_clouds_start_the_workers_that_they_promise() -> None:
    for file in RAY_FILES:
        config = documents(file)[0]
        if config["provider"]["type"] == "local":
            assert config["min_workers"] == config["max_workers"] == len(config["provider"]["worker_ips"])
            continue
        assert config["head_node_type"] in config["available_node_types"]
        assert config["max_workers"] >= sum(
            kind.get("min_workers", 0) for kind in config["available_node_types"].values()
        )


def run_setup(folder: Path, home: Path, *arguments: str) -> str:
    (home / ".ray").mkdir(exist_ok=True)
    (home / ".ray/auth_token").write_text("x")
    result = subprocess.run(
        ["bash", str(folder / "infra/ray/setup.sh"), *arguments], check=True, capture_output=True, text=True,
        env={"HOME": str(home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHON": "/nowhere/python"},
    )  # fmt: skip
    return result.stdout + result.stderr


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """A project with setup.sh, and an environment whose python notes how it was called"""
    project, python = tmp_path / "project", tmp_path / "venv/bin/python"
    for folder in (project / "infra/ray", python.parent):
        folder.mkdir(parents=True)
    (project / "infra/ray/setup.sh").write_text((repository / "infra/ray/setup.sh").read_text())
    python.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/called\n')
    python.chmod(0o755)
    return project


def test_setup_installs_what_is_locked_and_tells_ray_where_things_are(copy: Path, tmp_path: Path) -> None:
    for _ in range(2):
        run_setup(copy, tmp_path, str(tmp_path / "venv"))
    cpu = ["--torch-index", "https://download.pytorch.org/whl/cpu"]
    for call in (tmp_path / "called").read_text().splitlines():
        assert call.split()[:2] == [f"{copy}/infra/install.py", "--packages-only"]
        assert call.split()[2:] in ([], cpu)  # the former where there is a GPU
    assert (tmp_path / ".bashrc").read_text().count("stylegan2-ada.sh") == 1
    settings = (tmp_path / ".stylegan2-ada.sh").read_text()
    assert f"export STYLEGAN_PROJECT={copy}\n" in settings
    assert f"export PATH={tmp_path}/venv/bin:$PATH\n" in settings
    assert "RAY_AUTH_MODE=token" in settings
    assert (tmp_path / ".ray/auth_token").stat().st_mode & 0o077 == 0


def test_a_node_without_the_clusters_token_is_not_set_up(copy: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", str(copy / "infra/ray/setup.sh"), str(tmp_path / "venv")], check=False, capture_output=True, text=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2, f"setup.sh: {tmp_path}/.ray/auth_token is missing; `make up` makes it, and copies it to every node\n",
    )  # fmt: skip
    assert not (tmp_path / "called").exists()


CLOUDS = ("aws", "gcp")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_workers_of_a_cloud_have_no_public_address_and_no_rights(cloud: str) -> None:
    config = documents(INFRA / f"ray/{cloud}.yaml")[0]
    assert config["provider"]["use_internal_ips"]
    worker = config["available_node_types"]["worker"]["node_config"]
    assert "IamInstanceProfile" not in worker
    if cloud == "gcp":
        assert worker["serviceAccounts"] == []
        assert all("accessConfigs" not in interface for interface in worker["networkInterfaces"])


def test_ray_makes_no_security_group_or_role_of_its_own_on_aws() -> None:
    """Its own lets in ssh from everywhere, and may do everything with EC2 and S3."""
    kinds = documents(INFRA / "ray/aws.yaml")[0]["available_node_types"]
    for kind in kinds.values():
        machine = kind["node_config"]
        assert machine["SecurityGroupIds"]
        assert machine["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in machine["BlockDeviceMappings"])
        assert "mount -t efs -o tls," in machine["UserData"]
    head = kinds["head"]["node_config"]
    assert head["IamInstanceProfile"] == {"Name": "stylegan2-ada-head"}
    assert len(head["SecurityGroupIds"]) == 2  # ssh from one address, and the cluster's
    assert kinds["worker"]["node_config"]["SecurityGroupIds"] == head["SecurityGroupIds"][1:]


class Account(yaml.SafeLoader):
    """Reads a CloudFormation template; what its tags stand for is known only there"""


Account.add_multi_constructor("!", lambda loader, suffix, node: str(node.value))


def test_the_account_on_aws_lets_in_one_address_encrypts_and_gives_the_head_its_machines_alone() -> None:
    template = yaml.load((INFRA / "aws/account.yaml").read_text(), Account)
    allowed = re.compile(template["Parameters"]["SshFrom"]["AllowedPattern"])
    assert allowed.fullmatch("203.0.113.7/32")
    assert not any(allowed.fullmatch(each) for each in ("0.0.0.0/0", "0.0.0.0/32", "10.0.0.0/8"))
    resources = template["Resources"]
    rules = [
        rule for item in resources.values() if item["Type"] == "AWS::EC2::SecurityGroup"
        for rule in item["Properties"].get("SecurityGroupIngress", [])
    ]  # fmt: skip
    assert [rule["CidrIp"] for rule in rules if "CidrIp" in rule] == ["SshFrom"]
    assert resources["Files"]["Properties"]["Encrypted"] is True
    assert resources["Folder"]["Properties"]["RootDirectory"]["CreationInfo"]["Permissions"] == "0750"
    (policy,) = resources["HeadRole"]["Properties"]["Policies"]
    for statement in policy["PolicyDocument"]["Statement"]:
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        assert not any("*" in action for action in actions)
        assert statement["Resource"] != "*" or all(action.startswith("ec2:Describe") for action in actions)


def test_the_firewall_on_gcp_lets_in_one_address_alone() -> None:
    script = (INFRA / "gcp/account.sh").read_text()
    rules = [rule.split("gc ")[0] for rule in script.split("firewall-rules create ")[1:]]
    assert all('--source-ranges="$SSH_FROM"' in rule or "--source-tags=stylegan2-ada " in rule for rule in rules)
    wide = {"PROJECT": "p", "REGION": "r", "ZONE": "z", "SSH_FROM": "0.0.0.0/0", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", str(INFRA / "gcp/account.sh")], check=False, capture_output=True, text=True, env=wide
    )
    assert (done.returncode, done.stderr) == (
        2, "account.sh: SSH_FROM is 0.0.0.0/0; expected one address, such as 203.0.113.7/32\n",
    )  # fmt: skip


def test_no_shared_folder_is_writable_for_everyone() -> None:
    for file in INFRA.rglob("*"):
        if file.is_file() and file.suffix != ".txt":
            assert not re.search(r"chmod [^\n]*(777|[oa]\+\w*w)", file.read_text()), name_of(file)


# --- Kubernetes


def test_every_object_is_named_and_of_a_known_kind() -> None:
    kinds = {
        ("v1", "PersistentVolumeClaim"), ("v1", "Service"), ("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"),
        ("networking.k8s.io/v1", "NetworkPolicy"), ("ray.io/v1", "RayCluster"), ("ray.io/v1", "RayJob"),
    }  # fmt: skip
    for item in kubernetes_objects():
        assert (item["apiVersion"], item["kind"]) in kinds
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", item["metadata"]["name"])
        assert "app.kubernetes.io/part-of" in item["metadata"]["labels"]


@each(KUBERNETES_FILES)
def test_kubernetes_accepts_every_object_and_pod(file: Path) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate==1.37.0")
    for item in documents(file):
        if item["apiVersion"] != "ray.io/v1":
            validator.validate(item, "1.33", strict=True)
    for name, pod in PODS.items():
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": pod["metadata"] | {"name": "pod"}, "spec": pod["spec"]}
        validator.validate(whole, "1.33", strict=True), name


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    equal = selector.get("matchLabels", {}).items() <= labels.items()
    return equal and all(
        rule["operator"] == "In" and labels.get(rule["key"]) in rule["values"]
        for rule in selector.get("matchExpressions", [])
    )


def test_what_selects_pods_selects_some() -> None:
    labels = [pod["metadata"]["labels"] for pod in PODS.values()]
    for item in kubernetes_objects():
        spec = item["spec"]
        if item["kind"] == "NetworkPolicy":
            assert any(matches(spec["podSelector"], each_) for each_ in labels), item["metadata"]["name"]
        if item["kind"] in ("Deployment", "StatefulSet"):
            assert matches(spec["selector"], spec["template"]["metadata"]["labels"])
        if item["kind"] == "Service":
            selector = {"matchLabels": spec["selector"]}
            (chosen,) = (pod for pod in PODS.values() if matches(selector, pod["metadata"]["labels"]))
            ports = {port["name"] for container in chosen["spec"]["containers"] for port in container["ports"]}
            assert {port["targetPort"] for port in spec["ports"]} <= ports


def test_database_and_store_and_ray_are_behind_a_network_policy() -> None:
    policies = [item["spec"]["podSelector"] for item in kubernetes_objects() if item["kind"] == "NetworkPolicy"]
    open_to_all = [
        name for name, pod in PODS.items() if not any(matches(rule, pod["metadata"]["labels"]) for rule in policies)
    ]
    assert open_to_all == ["Deployment mlflow"]  # it asks for user and password


@every_pod
def test_every_container_is_limited_probed_and_not_root(pod: dict[str, Any]) -> None:
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        assert {"readinessProbe", "livenessProbe"} <= set(container), container["name"]
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert {"cpu", "memory"} <= set(container["resources"]["limits"])


@every_pod
def test_probes_and_mounts_name_what_the_pod_has(pod: dict[str, Any]) -> None:
    volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])} | {"data"}  # data is a claim template's
    for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]:
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            port = container.get(probe, {}).get("httpGet", {}).get("port", 52365)
            assert port == 52365 or port in ports  # 52365 is where Ray's agent answers for its node


def test_the_job_runs_on_the_cluster_of_the_other_file() -> None:
    specs = ray_specs()
    assert specs["RayJob"] == specs["RayCluster"]


def test_the_cluster_has_room_for_the_workers_of_the_parameters(repository: Path) -> None:
    cluster = load(repository / "params.yaml").cluster
    for spec in ray_specs().values():
        cpus = gpus = 0
        for group in spec["workerGroupSpecs"]:
            limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
            cpus += group["replicas"] * int(limits["cpu"])
            gpus += group["replicas"] * int(limits.get("nvidia.com/gpu", 0))
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert cpus >= cluster.num_workers * cluster.cpus_per_worker
        assert not cluster.use_gpu or gpus >= cluster.num_workers


def test_every_pod_of_the_cluster_sees_the_same_project() -> None:
    for name, pod in PODS.items():
        if name.startswith("Ray"):
            (container,) = pod["spec"]["containers"]
            assert {"name": "work", "mountPath": SHARED} in container["volumeMounts"]
            assert {"name": "STYLEGAN_PROJECT", "value": f"{SHARED}/project"} in container["env"]
    (job,) = (item["spec"] for item in kubernetes_objects() if item["kind"] == "RayJob")
    assert job["entrypoint"] == f"python {SHARED}/project/pipelines/submit.py"


def test_ray_asks_for_a_token_everywhere() -> None:
    for spec in ray_specs().values():
        assert spec["authOptions"] == {"mode": "token"}
    for name, pod in PODS.items():
        if name.startswith("Ray"):
            assert {"name": "RAY_AUTH_MODE", "value": "token"} in pod["spec"]["containers"][0]["env"]


# --- images and versions


def images() -> list[str]:
    text = "\n".join(file.read_text() for file in [*KUBERNETES_FILES, COMPOSE])
    return re.findall(r"\bimage: (?:&\w+ )?([^*\s]+)", text)


def test_images_are_pinned_and_agree_with_project_and_lock(locked: dict[str, str], project: dict[str, Any]) -> None:
    assert {image.partition("@")[0] for image in images()} == {
        f"stylegan2-ada:{project['project']['version']}-cpu", f"stylegan2-ada-mlflow:{locked['mlflow']}",
        "postgres:17.5", "chrislusf/seaweedfs:4.48",
    }  # fmt: skip


def test_an_image_of_others_is_known_by_its_digest_and_has_one_wherever_it_is_used() -> None:
    text = "\n".join(file.read_text() for file in [*DOCKERFILES, *KUBERNETES_FILES, COMPOSE])
    used = re.findall(r"(?:^FROM|\bimage:) (?:&\w+ )?([^*\s]+)", text, re.MULTILINE)
    foreign = {image for image in used if not image.startswith("stylegan2-ada")}
    assert len(foreign) == 3
    assert all(re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image) for image in foreign)


def test_versions_of_ray_agree_with_the_lock(locked: dict[str, str]) -> None:
    assert {spec["rayVersion"] for spec in ray_specs().values()} == {locked["ray"]}


@each(DOCKERFILES)
def test_images_have_the_projects_python_install_with_the_lock_and_do_not_run_as_root(
    file: Path, project: dict[str, Any]
) -> None:
    text = file.read_text()
    python = project["tool"]["mypy"]["python_version"]
    assert re.findall(r"^FROM (.*)$", text, re.MULTILINE)
    for base in re.findall(r"^FROM (.*)$", text, re.MULTILINE):
        assert re.fullmatch(rf"python:{re.escape(python)}\.\d+-slim-bookworm@sha256:\w+", base), base
    for command in re.findall(r"pip install [^&]*", text.replace("\\\n", "")):
        assert "--require-hashes" in command
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] != "root"
    assert f"docker build -f {name_of(file)} -t" in text


def test_the_images_are_built_under_the_names_that_are_started(project: dict[str, Any], locked: dict[str, str]) -> None:
    built = {
        tag for file in DOCKERFILES for tag in re.findall(r"#   docker build -f \S+ -t (\S+) \.", file.read_text())
    }
    version = project["project"]["version"]
    assert built == {
        f"stylegan2-ada:{version}-cpu", f"stylegan2-ada:{version}-cuda", f"stylegan2-ada-mlflow:{locked['mlflow']}",
    }  # fmt: skip


def test_the_two_images_differ_in_torchs_build_and_what_it_needs_alone() -> None:
    cpu, cuda = ((INFRA / f"docker/Dockerfile.{name}").read_text().splitlines() for name in ("cpu", "cuda"))
    differing = [line for line in {*cpu} ^ {*cuda} if not line.startswith("#")]
    install = "RUN apt-get update && apt-get install -y --no-install-recommends {} && rm -rf /var/lib/apt/lists/*"
    assert sorted(differing) == [
        "ENV PIP_NO_CACHE_DIR=1",
        "ENV PIP_NO_CACHE_DIR=1 NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        install.format("gcc git libc6-dev rsync"),
        install.format("git rsync"),
        "RUN python infra/install.py --packages-only",
        "RUN python infra/install.py --packages-only --torch-index https://download.pytorch.org/whl/cpu",
    ]


@pytest.mark.parametrize(
    ("file", "packages"),
    [
        ("docker/Dockerfile.cuda", {"gcc", "libc6-dev"}),  # the base image has Python's headers
        ("ray/aws.yaml", {"gcc", "python3.11-devel"}),
        ("ray/gcp.yaml", {"gcc", "python3.12-dev"}),
    ],
)
def test_machines_with_gpus_have_what_triton_builds_its_launchers_with(file: str, packages: set[str]) -> None:
    """Without a C compiler and Python's headers no kernel starts, and training takes torch's operations."""
    text = (INFRA / file).read_text()
    installed = re.findall(r"(?:dnf|apt-get) install ([^&#\n]*)", text)
    assert len(installed) == 1
    assert packages <= set(installed[0].split())


# --- compose


def test_every_service_is_health_checked_and_waits_for_those_it_needs() -> None:
    services = documents(COMPOSE)[0]["services"]
    for name, service in services.items():
        assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"]), name
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), name
        assert service["read_only"], name
        assert {"mem_limit", "cpus", "pids_limit"} <= set(service), name
        assert name == "mlflow" or service["user"].split(":")[0] not in ("0", "root")  # the image of mlflow has a user
    assert services["mlflow"]["depends_on"] == {
        name: {"condition": "service_healthy"} for name in services if name != "mlflow"
    }


def test_only_the_server_has_a_port_and_on_this_machine_alone() -> None:
    compose = documents(COMPOSE)[0]
    ports = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert ports == {"mlflow": ["${MLFLOW_BIND:-127.0.0.1}:5000:5000"]}
    assert compose["networks"]["back"] == {"internal": True}
    assert all(service["networks"] == ["back"] for name, service in compose["services"].items() if name != "mlflow")


def test_compose_mounts_and_networks_are_declared() -> None:
    compose = documents(COMPOSE)[0]
    for service in compose["services"].values():
        assert set(service["networks"]) <= set(compose["networks"])
        for volume in service["volumes"]:
            assert volume.startswith("$") or volume.partition(":")[0] in compose["volumes"]


# --- everywhere

SECRET = re.compile(r"(?:password|secret|token|access[-_]?key)[\w-]*['\"]?\s*[:=]\s*(?P<value>[^\s#]+)", re.IGNORECASE)
# A reference to a secret by its name, a demand of compose, a variable, the path of a token; and no secret at all.
NO_SECRETS = re.compile(r'\{name:|\$\{\w+:\?\w+|\(quote\(os\.environ\[.*|"~/\.ray/auth_token"|\.\.\.`|false|required,')


def test_ray_serve_names_an_application_and_options_that_there_are_and_listens_here_alone(repository: Path) -> None:
    content = yaml.safe_load((INFRA / "serve/ray.yaml").read_text())
    (application,) = content["applications"]
    module, _, function = application["import_path"].partition(":")
    tree = ast.parse((repository / f"{module.replace('.', '/')}.py").read_text())  # ray.serve needs the extra `serve`
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert function in defined
    fields = [ast.unparse(line.target) for line in defined["Options"].body if isinstance(line, ast.AnnAssign)]
    assert fields == list(application["args"])
    assert [deployment["name"] for deployment in application["deployments"]] == ["Drawing"]
    assert content["http_options"]["host"] == "127.0.0.1"


def test_no_file_holds_a_secret() -> None:
    for file in INFRA.rglob("*"):
        if file.is_file():
            assert "PRIVATE KEY" not in file.read_text()
            for found in SECRET.finditer(file.read_text()):
                assert NO_SECRETS.fullmatch(found["value"]), f"{name_of(file)}: {found[0]}"


def test_secrets_of_compose_are_demanded_and_have_no_default() -> None:
    for value in re.findall(r"\$\{\w*(?:PASSWORD|SECRET|KEY|USERNAME)\w*([^}]*)\}", COMPOSE.read_text()):
        assert value.startswith(":?"), value


def test_nothing_listens_on_every_interface_but_what_is_listed() -> None:
    found = {}
    for file in sorted(INFRA.rglob("*")):
        if file.is_file() and (count := file.read_text().count("0.0.0.0")):
            found[name_of(file)] = count
    assert found == LISTENS
    services = [item["spec"]["type"] for item in kubernetes_objects() if item["kind"] == "Service"]
    assert set(services) == {"ClusterIP"}
    assert {spec["headGroupSpec"]["serviceType"] for spec in ray_specs().values()} == {"ClusterIP"}
    assert not re.search(r"hostNetwork|hostPort|NodePort|LoadBalancer", "".join(map(str, kubernetes_objects())))


def test_the_server_starts_with_no_setting_missing(tmp_path: Path) -> None:
    script = (INFRA / "mlflow/serve.sh").read_text()
    needed = re.findall(r"\b[A-Z][A-Z0-9_]+\b", script[script.index("for name in") : script.index("; do")])
    compose = documents(COMPOSE)[0]["services"]["mlflow"]["environment"]
    (container,) = PODS["Deployment mlflow"]["spec"]["containers"]
    assert set(needed) == set(compose) - {"AWS_DEFAULT_REGION", "TLS_CERT", "TLS_KEY"}
    assert set(needed) <= {entry["name"] for entry in container["env"]}
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)} | dict.fromkeys(needed, "x")
    environment.pop("MLFLOW_AUTH_ADMIN_PASSWORD")
    result = subprocess.run(
        ["bash", str(INFRA / "mlflow/serve.sh")], check=False, capture_output=True, text=True, env=environment
    )
    assert (result.returncode, result.stderr) == (
        2, "serve.sh: MLFLOW_AUTH_ADMIN_PASSWORD is not set; infra/README.md says how\n",
    )  # fmt: skip


def test_no_file_holds_a_hyper_parameter(repository: Path) -> None:
    params = load(repository / "params.yaml")
    sections = ("data", "generator", "discriminator", "augment", "loss", "train", "evaluate", "render")
    names = {name for section in sections for name in getattr(params, section).model_dump()} - {"seed", "mode", "p"}
    files = [file for file in INFRA.rglob("*") if file.is_file() and file.parent.name != "locks"]  # names of packages
    text = "\n".join(file.read_text() for file in files)
    assert not [name for name in names if re.search(rf"\b{name}\b", text)]


def test_the_list_of_files_is_complete() -> None:
    listed = (INFRA / "README.md").read_text()
    for file in INFRA.rglob("*"):
        if file.is_file() and file.parent.name not in ("docker", "locks") and file.name != "README.md":
            assert f"`{file.relative_to(INFRA).as_posix()}`" in listed
    for file in DOCKERFILES:
        assert file.suffix in listed
