"""The training step as in the papers' algorithm: its phases, and what they share.

No file, no print, no logger here. N batch, C channels, H W image, L = num_ws.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from stylegan import loss
from stylegan.augment import AugmentPipe, diffaugment
from stylegan.distributed import all_reduce_mean_, dealt, world_size
from stylegan.state import TrainState, seed_at
from stylegan.stats import Stats

Batch = tuple[Tensor, Tensor]  # images [N, C, H, W] in [-1, 1] and their labels [N, c_dim]
Images = Tensor | list[Tensor]  # list: of all resolutions, for the architecture msg
DrawLabels = Callable[[int], Tensor]  # n -> labels of n images drawn at random from the dataset [n, c_dim]
PHASES = ("Gmain", "Greg", "Dmain", "Dreg")
SEEDED = (*PHASES, "Dval")  # have random numbers of their own; no step is taken in the last


class NonFiniteError(ArithmeticError):
    """A loss or gradient became infinite or NaN; the message names the phase and the kimg.

    The state is spoilt: resume from one that was saved before, with other parameters, or the same steps fail again.
    """


class Trainer:
    """One process's view of a step: the state it changes and what it needs to do so."""

    def __init__(self, state: TrainState, draw_c: DrawLabels) -> None:
        self.state, self.config, self.draw_c = state, state.config, draw_c
        self.augment = AugmentPipe(self.config.augment.multipliers).to(state.device)
        self.adversarial = loss.adversarial(self.config.loss.adversarial, self.config.loss.drift_weight)
        self.stats = Stats(state.device)
        # The batch in micro-batches of batch_gpu, the same whatever the number of ranks; each rank has one or more.
        self.num_micro_batches = self.config.train.batch_size // self.config.train.batch_gpu
        self.own = dealt(self.num_micro_batches)
        self.phase_name = ""  # outside of phases
        # Of each part of a phase, over this rank's micro-batches, then over the batch.
        self.means: dict[tuple[str, str], Tensor] = {}
        # First step and phase whose gradients were not finite, packed into one number; -1 while all is well.
        # It stays on the device, so that checking costs no synchronisation.
        self.failure = torch.tensor(-1, dtype=torch.int64, device=state.device)

    def step(self, real_img: Tensor, real_c: Tensor, held_out: Batch | None = None) -> None:
        """One batch: G, path length every g_reg_interval, D, its penalty every d_reg_interval, then EMA and ADA.

        An interval of 1 is not lazy: the regularisation is part of its network's one step (Karras et al. 2020, App. B).
        real_img [N, C, H, W] in [-1, 1] and real_c [N, c_dim] are this rank's share of the batch: micro-batches `own`.
        held_out: as many images and labels of the hold-out split, which D scores without learning, for r_v
        """
        state, config = self.state, self.config
        state.G.train()
        real_img = state.D.reduced(real_img)
        with self.phase("Gmain") if config.loss.g_reg_interval == 1 else nullcontext():
            self.update_g()
            if config.loss.pl_weight > 0 and state.batch_idx % config.loss.g_reg_interval == 0:
                self.regularize_g()
        if held_out is not None:
            self.validate_d(*held_out)
        with self.phase("Dmain") if config.loss.d_reg_interval == 1 else nullcontext():
            self.update_d(real_img, real_c)
            if loss.d_reg_weight(config.loss) > 0 and state.batch_idx % config.loss.d_reg_interval == 0:
                self.regularize_d(real_img, real_c)
        state.advance()

    def update_g(self) -> None:
        """Make D believe in generated images."""
        with self.phase("Gmain"):
            for _ in self.rounds():
                gen_img, c, _ = self.generate(self.config.train.batch_gpu)
                gen_logits = self.discriminate(gen_img, c)
                g_loss = self.adversarial.generator(gen_logits)
                self.stats.add("loss/G", g_loss)
                (g_loss.mean() / self.mean_rounds).backward()

    def regularize_g(self) -> None:
        """Equal steps in w make equal steps in the image."""
        with self.phase("Greg"):
            for _ in self.rounds():
                n = self.config.train.batch_gpu // self.config.loss.pl_batch_shrink
                gen_img, _, ws = self.generate(n, along_ws=True)
                assert isinstance(gen_img, Tensor)
                penalty, pl_mean = loss.path_length_penalty(gen_img, ws, self.state.pl_mean, self.config.loss.pl_decay)
                self.add_to_mean("pl_mean", pl_mean)
                self.stats.add("loss/pl_penalty", penalty)
                weight = self.config.loss.pl_weight * self.config.loss.g_reg_interval
                (penalty.mean() * (weight / self.mean_rounds)).backward()

    def update_d(self, real_img: Tensor, real_c: Tensor) -> None:
        """Tell real images from generated ones."""
        with self.phase("Dmain"):
            for img, c in self.micro_batches(real_img, real_c):
                with torch.no_grad():
                    gen_img, gen_c, _ = self.generate(len(img))
                gen_logits = self.discriminate(gen_img, gen_c)
                gen_loss = self.adversarial.gen(gen_logits)
                (gen_loss.mean() / self.mean_rounds).backward()
                real_logits = self.discriminate_real(img, c)
                real_loss = self.adversarial.real(real_logits)
                (real_loss.mean() / self.mean_rounds).backward()
                self.state.observe("gen", gen_logits)
                self.stats.add("logits/gen", gen_logits)
                self.stats.add("loss/D", gen_loss + real_loss)

    def regularize_d(self, real_img: Tensor, real_c: Tensor) -> None:
        """Keep D's gradient small at real images, or near 1 between real and generated ones."""
        name = self.config.loss.d_regularizer
        with self.phase("Dreg"):
            for img, c in self.micro_batches(real_img, real_c):
                penalty = self.gradient_penalty(img, c) if name == "gp" else self.r1_penalty(img, c)
                self.stats.add(f"loss/{name}_penalty", penalty)
                weight = loss.d_reg_weight(self.config.loss) * self.config.loss.d_reg_interval
                (penalty.mean() * (weight / self.mean_rounds)).backward()

    def r1_penalty(self, img: Tensor, c: Tensor) -> Tensor:
        """At real images before augmentation  [N, C, H, W], [N, c_dim] -> [N]"""
        img = img.detach().requires_grad_()
        return loss.r1_penalty(self.discriminate_real(img, c), img)

    def gradient_penalty(self, img: Tensor, c: Tensor) -> Tensor:
        """Between real images and generated ones of their labels, before augmentation  [N, C, H, W], [N, c_dim] -> [N]

        No styles are mixed and w_avg does not follow, so ranks need not wait for each other here.
        """
        G = self.state.G
        with torch.no_grad():
            gen_img = G.synthesis(G.mapping(torch.randn(len(img), G.z_dim, device=img.device), c))
        img = loss.between(img, gen_img).requires_grad_()
        return loss.gradient_penalty(self.discriminate(img, c), img)

    @torch.no_grad()
    def validate_d(self, img: Tensor, c: Tensor) -> None:
        """Score held-out images as real ones are scored  [N, C, H, W], [N, c_dim]"""
        self.phase_name = "Dval"
        for held_img, held_c in self.micro_batches(img, c):
            logits = self.discriminate(self.state.D.reduced(held_img), held_c)
            self.state.observe("holdout", logits)
            self.stats.add("logits/holdout", logits)
        self.phase_name = ""

    def generate(self, n: int, *, along_ws: bool = False) -> tuple[Images, Tensor, Tensor]:
        """Images of n random latents with style mixing  -> img [N, C, H, W], c [N, c_dim], ws [N, L, w_dim]

        along_ws lets img, then the full one, be differentiated along ws even if the mapping network is frozen.
        """
        G = self.state.G
        z, c = torch.randn(n, G.z_dim, device=self.state.device), self.draw_c(n)
        cutoff = G.synthesis.num_ws_used
        if torch.rand([]).item() < self.config.loss.style_mixing_prob and cutoff > 1:
            cutoff = int(torch.randint(1, cutoff, []))
            z = torch.cat([z, torch.randn_like(z)])  # both through the mapping network at once
        ws, *others = G.mapping(z, c.repeat(len(z) // n, 1)).split(n)
        self.add_to_mean("w", ws[:, 0].detach().mean(dim=0))
        for other in others:
            ws = torch.cat([ws[:, :cutoff], other[:, cutoff:]], dim=1)
        if along_ws and not ws.requires_grad:
            ws.requires_grad_()
        return G.synthesis(ws) if along_ws else G.synthesis.shown(ws), c, ws

    def discriminate(self, img: Images, c: Tensor) -> Tensor:
        """Logits of augmented images  [N, C, H, W], [N, c_dim] -> [N, 1]; a list is not augmented (config.py)"""
        logits: Tensor = self.state.D(img if isinstance(img, list) else self.augmented(img), c)
        return logits

    def augmented(self, img: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]"""
        if self.config.augment.mode == "diffaugment":
            return diffaugment(img, self.config.augment.diffaugment)
        return img if self.config.augment.mode == "none" else self.augment(img, self.state.p)

    def discriminate_real(self, img: Tensor, c: Tensor) -> Tensor:
        """As `discriminate`, and remember what steers p."""
        logits = self.discriminate(img, c)
        self.state.observe("train", logits)
        self.stats.add("logits/real", logits)
        self.stats.add("augment/r_t", logits.sign())
        return logits

    @property
    def mean_rounds(self) -> float:
        """Micro-batches of a rank on average: divided by it, the mean of all ranks' sums is the mean of the batch."""
        return self.num_micro_batches / world_size()

    def rounds(self) -> Iterator[int]:
        """Number this rank's micro-batches, and begin the random numbers of each."""
        phase = SEEDED.index(self.phase_name)
        for number in self.own:
            torch.manual_seed(seed_at(self.config.train.seed, self.state.cur_nimg, phase, number))
            yield number

    def add_to_mean(self, name: str, value: Tensor) -> None:
        """Collect a micro-batch's mean of something that training tracks."""
        key = self.phase_name, name
        self.means[key] = value / self.mean_rounds + self.means.get(key, 0)

    def micro_batches(self, img: Tensor, c: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Pieces of batch_gpu images"""
        pieces = zip(img.split(self.config.train.batch_gpu), c.split(self.config.train.batch_gpu), strict=True)
        for _, piece in zip(self.rounds(), pieces, strict=True):
            yield piece

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Collect gradients of what learns in the phase, average them over ranks, check them, take one step.

        What is tracked next to them, the means of w and of path lengths, travels in the same all-reduce. A phase within
        another draws random numbers of its own, and the rest it leaves to that.
        """
        if self.phase_name:
            outer, self.phase_name = self.phase_name, name
            yield
            self.phase_name = outer
            return
        self.phase_name, self.means = name, {}
        optimizer = self.state.opt_g if name.startswith("G") else self.state.opt_d
        learning: list[nn.Parameter] = optimizer.param_groups[0]["params"]
        _require_grad(learning, True)
        optimizer.zero_grad(set_to_none=True)
        yield
        self.phase_name = ""
        _require_grad(learning, False)
        grads = [param.grad for param in learning if param.grad is not None]
        if world_size() > 1:
            _average_over_ranks([*grads, *self.means.values()])
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        position = self.state.batch_idx * len(PHASES) + PHASES.index(name)
        failed_now = (self.failure < 0) & ~norm.isfinite()
        self.failure = torch.where(failed_now, position, self.failure)
        self.stats.add(f"grad_norm/{name}", norm)
        optimizer.step()
        self._track()

    def _track(self) -> None:
        for (_, name), mean in self.means.items():
            if name == "w":
                self.state.G.mapping.track_w_avg(mean, self.config.generator.w_avg_beta)
            else:
                self.state.pl_mean = mean

    def check_finite(self) -> None:
        """Raise NonFiniteError that names the first phase and kimg whose gradients were not finite."""
        position = int(self.failure)
        if position >= 0:
            batch_idx, phase = divmod(position, len(PHASES))
            kimg = batch_idx * self.config.train.batch_size / 1000
            raise NonFiniteError(f"the gradients of phase {PHASES[phase]} are not finite at kimg {kimg:.3f}.")


def _require_grad(params: list[nn.Parameter], learns: bool) -> None:
    for param in params:
        param.requires_grad_(learns)


def _average_over_ranks(tensors: list[Tensor]) -> None:
    """One flat all-reduce, in place: DDP's hooks handle four phases with double backward worst."""
    flat = all_reduce_mean_(torch.cat([tensor.flatten() for tensor in tensors]))
    pieces = flat.split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(tensors, [piece.view_as(tensor) for tensor, piece in zip(tensors, pieces, strict=True)])
