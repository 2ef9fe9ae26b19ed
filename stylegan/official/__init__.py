"""Official network files in, without executing or importing anything that they carry.

Such a file is a pickle that brings the source of its classes along; loaded the usual way, it runs that source. Here a
pickle is data: `stream` reads its opcodes, `meanings` turns the few names it may ask for into inert `records`,
`settings` finds the architecture, and `networks` fills this project's own modules with the weights.
"""

from stylegan.official.errors import OfficialFileError
from stylegan.official.load import OfficialNetworks, is_official, load_official

__all__ = ["OfficialFileError", "OfficialNetworks", "is_official", "load_official"]
