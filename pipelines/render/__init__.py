"""Stage `render`: the report page and its images.

The name is all that other rooms use of it. It is imported when first asked for, so that
`python -m pipelines.render --help` does not wait for torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.render.report import render

__all__ = ["render"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipelines.render import report

    return getattr(report, name)
