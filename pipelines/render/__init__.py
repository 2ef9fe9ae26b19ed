"""Stage `render`: generator, archive, numbers and training log -> the pictures in reports/ and reports/index.html."""

from pipelines.render.report import RenderError, render

__all__ = ["RenderError", "render"]
