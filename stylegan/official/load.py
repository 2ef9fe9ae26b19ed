"""A file to networks: limits, layouts, and the report."""

import hashlib
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stylegan.augment import AugmentPipe
from stylegan.networks import Discriminator, Generator
from stylegan.official import networks, settings, tensorflow
from stylegan.official.errors import OfficialFileError, printable
from stylegan.official.meanings import OfficialNames
from stylegan.official.records import Foreign, Module, TensorFlowNetwork, as_dict
from stylegan.official.stream import Budget, Machine

MAX_BYTES = 2 * 2**30  # the largest official file has 0.4
MAX_STEPS = 250_000  # pickle opcodes; the largest official file has some 60,000
COPIED_SLACK = 2**20  # bytes of text that a small file may repeat
KNOWN_KEYS = ("G", "D", "G_ema", "augment_pipe", "training_set_kwargs")
PUBLISHED_D = "Discriminator"
MAX_ITEMS = 1000  # of training_set


@dataclass
class OfficialNetworks:
    """What a file holds; None if it lacks a network. They are in fp32, on the CPU, in eval mode, with gradients."""

    G: Generator | None = None
    D: Discriminator | None = None
    G_ema: Generator | None = None
    augment_pipe: AugmentPipe | None = None
    augment_p: float | None = None  # probability of the pipe when the file was written
    training_set: dict[str, Any] = field(default_factory=dict)
    report: str = ""  # what was found, taken over and left out, for people


def is_official(path: Path) -> bool:
    """Whether a file is for `load_official`: a pickle or a zip, or, if its content tells nothing, by its ending"""
    head = b""
    if path.is_file():  # reading a pipe would wait for ever
        with path.open("rb") as file:
            head = file.read(9)
    if head[4:] == b"\0\0\0\0{":  # safetensors: the size of the header, and its JSON; a size may begin like a pickle
        return False
    return head[:1] == b"\x80" or head[:2] == b"PK" or path.suffix.lower() in (".pkl", ".pickle")


def load_official(path: Path | str) -> OfficialNetworks:
    """Read G, D, G_ema, the augmentation pipe and the description of the training set from an official .pkl.

    Raises OfficialFileError for what is no such file, is damaged, or asks for more than data; FileNotFoundError.
    """
    path = Path(path)
    try:
        content = _read(path)
        budget = Budget(steps=MAX_STEPS, copied=4 * len(content) + COPIED_SLACK)
        machine = Machine(memoryview(content), 0, OfficialNames(budget), budget)
        root = machine.run()
        header = f"{path}: pickle protocol {machine.protocol}, {len(content)} bytes"
        return _Assembly(capacity=len(content) // 2, lines=[header]).of(root)
    except OfficialFileError as error:
        raise OfficialFileError(
            f"{path}: not read, {error}. Nothing in it was executed. Use the original file from its publisher."
        ) from None


def _read(path: Path) -> bytes:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. Official networks are files like network-snapshot-025000.pkl.")
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OfficialFileError("it is not a regular file")
    if status.st_size > MAX_BYTES:
        raise OfficialFileError(f"it has {status.st_size} bytes, official files at most {MAX_BYTES}")
    content = path.read_bytes()
    if content[:2] == b"PK":
        raise OfficialFileError("it is a zip file, as torch.save writes them, and not an official pickle")
    if content[:1] != b"\x80":
        raise OfficialFileError("it does not begin like a pickle of protocol 2 to 5")
    return content


@dataclass
class _Assembly:
    """Networks in the making, and the lines of their report"""

    capacity: int  # numbers that the file can hold
    lines: list[str]
    made: OfficialNetworks = field(default_factory=OfficialNetworks)
    sources: dict[str, list[str]] = field(default_factory=dict)  # text of a source -> what it came with

    def of(self, root: object) -> OfficialNetworks:
        if type(root) is tuple and len(root) == 3 and all(isinstance(net, TensorFlowNetwork) for net in root):
            self.tensorflow(root)
        elif type(root) is dict and isinstance(root.get("G_ema"), Module):
            self.torch(root)
        else:
            raise OfficialFileError("it holds no network under the name G_ema, nor TensorFlow's (G, D, Gs)")
        for source, names in self.sources.items():
            content = source.encode("utf-8", "surrogatepass")
            digest = hashlib.sha256(content).hexdigest()
            self.lines.append(f"module_src of {', '.join(names)}: not executed, {len(content)} bytes, sha256 {digest}")
        self.made.report = "\n".join(self.lines)
        return self.made

    def torch(self, root: dict[Any, Any]) -> None:
        is_flat = any(
            isinstance(net := root.get(key), Module) and ("channel_base" in net.kwargs or "channel_max" in net.kwargs)
            for key in ("G", "G_ema")
        )
        self.lines.append(f"layout: {'StyleGAN3 training code' if is_flat else 'StyleGAN2-ADA'}, PyTorch")
        self.made.G = self.generator(root, "G")
        self.made.D = self.discriminator(root, is_flat)
        self.made.G_ema = self.generator(root, "G_ema")
        self.pipe(root)
        self.made.training_set = plain(root.get("training_set_kwargs"))
        unknown = [printable(key) for key in root if key not in KNOWN_KEYS]
        if unknown:
            self.lines.append(f"ignored: {', '.join(unknown[:10])}{', ...' if len(unknown) > 10 else ''}")

    def module(self, root: dict[Any, Any], key: str) -> Module | None:
        value = root.get(key)
        if value is not None and not isinstance(value, Module):
            raise OfficialFileError(f"{key} is {printable(value)} instead of a network")
        return value

    def generator(self, root: dict[Any, Any], key: str) -> Generator | None:
        module = self.module(root, key)
        if module is None:
            return None
        config, shape = settings.generator_settings(module, key)
        weights, frozen = networks.weights_of(module, key)
        G = networks.build_generator(config, shape, weights, key, self.capacity)
        self.describe(key, module, G, f"{config.architecture}, z_dim {config.z_dim}, w_dim {config.w_dim}", frozen)
        return G

    def discriminator(self, root: dict[Any, Any], is_flat: bool) -> Discriminator | None:
        """D; of another class than the published one that cannot be read, a line says that it is left out"""
        if isinstance(foreign := root.get("D"), Foreign):
            self.lines.append(f"D: {printable(foreign.class_name)} is a class of torch, left out")
            return None
        module = self.module(root, "D")
        if module is None:
            return None
        if module.class_name == PUBLISHED_D:
            return self.known_discriminator(module, is_flat)
        try:
            return self.known_discriminator(module, is_flat)
        except OfficialFileError as error:
            self.lines.append(
                f"D: {printable(module.class_name)} is not the published {PUBLISHED_D}, left out ({error})"
            )
            return None

    def known_discriminator(self, module: Module, is_flat: bool) -> Discriminator:
        config, shape = settings.discriminator_settings(module, "D", is_flat=is_flat)
        weights, frozen = networks.weights_of(module, "D")
        D = networks.build_discriminator(config, shape, weights, "D", self.capacity)
        self.describe("D", module, D, config.architecture, frozen)
        return D

    def describe(self, key: str, module: Module, net: Generator | Discriminator, what: str, frozen: int) -> None:
        self.lines.append(f"{key}: {printable(module.class_name)}, {what}, {summary(net)}")
        self.quote(module)
        half = settings.kwargs_of(module.child("synthesis")) | module.kwargs
        if half.get("num_fp16_res"):
            self.lines.append(f"  num_fp16_res {printable(half['num_fp16_res'])} left out: it computes in fp32 here")
        unknown = settings.unknown_arguments(module)
        if unknown:
            self.lines.append(f"  arguments left out: {', '.join(unknown[:10])}")
        if frozen:
            self.lines.append(f"  {frozen} tensors were frozen (Freeze-D); here they can be trained")

    def quote(self, module: Module) -> None:
        """Note which source the file brought along, so that people can compare; it is hashed, and nothing else"""
        self.sources.setdefault(module.source, []).append(f"{printable(module.class_name)} (format {module.version})")

    def pipe(self, root: dict[Any, Any]) -> None:
        module = self.module(root, "augment_pipe")
        if module is None:
            return
        if module.class_name != "AugmentPipe":
            self.lines.append(f"augment_pipe: {printable(module.class_name)} is not the published one, ignored")
            return
        self.made.augment_pipe, self.made.augment_p, changed = networks.build_pipe(module, "augment_pipe")
        on = [f"{name} {value:g}" for name, value in self.made.augment_pipe.multipliers if value]
        self.lines.append(f"augment_pipe: p {self.made.augment_p:g}, {', '.join(on) or 'all off'}")
        self.quote(module)
        if changed:
            self.lines.append(f"  ignored strengths: {'; '.join(changed)}")

    def tensorflow(self, root: tuple[TensorFlowNetwork, ...]) -> None:
        G, D, Gs = root
        self.lines.append("layout: TensorFlow")
        self.made.G = self.tensorflow_generator(G, "G")
        described = tensorflow.describe_discriminator(D, "D")
        self.made.D = networks.build_discriminator(
            described.config, described.shape, described.weights, "D", self.capacity
        )
        self.lines.append(f"D: {described.config.architecture}, {summary(self.made.D)}")
        self.quote_tensorflow("D", D)
        self.made.G_ema = self.tensorflow_generator(Gs, "G_ema")

    def tensorflow_generator(self, network: TensorFlowNetwork, key: str) -> Generator:
        described = tensorflow.describe_generator(network, key)
        G = networks.build_generator(described.config, described.shape, described.weights, key, self.capacity)
        self.lines.append(f"{key}: {described.config.architecture}, {summary(G)}")
        self.quote_tensorflow(key, network)
        return G

    def quote_tensorflow(self, key: str, network: TensorFlowNetwork) -> None:
        source, version = network.state.get("build_module_src"), network.state.get("version")
        self.quote(Module(key, version if type(version) is int else 0, source if isinstance(source, str) else "", {}))


def summary(net: Generator | Discriminator) -> str:
    count = sum(parameter.numel() for parameter in net.parameters())
    side = net.img_resolution
    return f"{net.img_channels} x {side} x {side}, c_dim {net.c_dim}, {count:,} parameters"


def plain(value: object) -> dict[str, Any]:
    """The scalars of a dict, and lists of scalars; what else is there describes no dataset"""
    kept: dict[str, Any] = {}
    for key, item in list(as_dict(value).items())[:MAX_ITEMS]:
        scalars = list(item)[:MAX_ITEMS] if isinstance(item, list | tuple) else [item]
        if isinstance(key, str) and all(s is None or isinstance(s, bool | int | float | str) for s in scalars):
            kept[key] = scalars if isinstance(item, list | tuple) else item
    return kept
