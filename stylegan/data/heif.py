"""HEIC and HEIF, in which phones store photos: known by their content, and read if pillow-heif is installed."""

from functools import cache

from stylegan.data.problems import Problem

BOX, LENGTHS = b"ftyp", 4  # a file of this family begins with a box of this type, after four bytes of its length
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
AVIF_BRANDS = {b"avif", b"avis"}  # the same container; Pillow reads it
HEAD_BYTES = 64  # hold the brands of every known writer


def is_heif(head: bytes) -> bool:
    """Whether a file that begins with these bytes is HEIC or HEIF"""
    brands = _find_brands(head)
    return bool(brands & HEIF_BRANDS) and not brands & AVIF_BRANDS


def is_avif(head: bytes) -> bool:
    """Whether a file that begins with these bytes is AVIF"""
    return bool(_find_brands(head) & AVIF_BRANDS)


def _find_brands(head: bytes) -> set[bytes]:
    """The brands in the first box of a file of this family (ISO 23008-12)"""
    if head[LENGTHS : LENGTHS + len(BOX)] != BOX:
        return set()
    end = min(int.from_bytes(head[:LENGTHS], "big"), HEAD_BYTES, len(head))
    return {head[8:12], *(head[start : start + 4] for start in range(16, end - 3, 4))}


@cache
def can_read() -> bool:
    """Teach Pillow to open such files; False where pillow-heif (the extra `heif`) is not installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def find_problem(head: bytes) -> Problem | None:
    """What keeps a file that begins with these bytes from being read, if it is HEIC or HEIF"""
    if not is_heif(head) or can_read():
        return None
    return Problem("is HEIC", "convert it to JPEG, or run `.venv/bin/pip install pillow-heif`")
