"""Extractors: networks that turn images into the features that metrics compare."""

from stylegan.metrics.extractors.loading import (
    EFFICIENTNET_FILE,
    Classifier,
    EfficientNetExtractor,
    Extractor,
    RandomExtractor,
    load_extractor,
)

__all__ = [
    "EFFICIENTNET_FILE",
    "Classifier",
    "EfficientNetExtractor",
    "Extractor",
    "RandomExtractor",
    "load_extractor",
]
