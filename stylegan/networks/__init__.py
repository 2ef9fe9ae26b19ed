"""Generator and discriminator; state-dict keys are those of the official network files."""

from stylegan.networks.discriminator import Discriminator
from stylegan.networks.generator import Generator, truncate

__all__ = ["Discriminator", "Generator", "truncate"]
