"""Words that go with numbers."""


def counted(count: int, one: str, many: str | None = None) -> str:
    """ "1 trial", "1,234 trials", or with a verb: counted(2, "image is", "images are")"""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
