"""The controller of the augmentation probability, and the second of its two measures of overfitting."""

import math


def adjust_p(p: float, r_t: float, *, target: float, nimg: int, ada_kimg: float, p_max: float) -> float:
    """Move p by nimg / (1000 ada_kimg) towards the overfitting target (Karras et al. 2020a, Sec. 3.1).

    r_t = E[sign(D(real))] over the nimg images since the last adjustment; 1 means D is certain of every real image.
    r_v takes its place where it steers p. One that is not a number leaves p where it is.
    """
    direction = (r_t > target) - (r_t < target)
    return min(max(p + direction * nimg / (ada_kimg * 1000), 0.0), p_max)


def validation_ratio(train: float, holdout: float, gen: float) -> float:
    """r_v = (E[D_train] - E[D_validation]) / (E[D_train] - E[D_generated]) (Karras et al. 2020a, Eq. 1)

    From mean logits. 0 means that D scores held-out images as training images, 1 as generated ones; not a number where
    D scores training and generated images the same.
    """
    return (train - holdout) / (train - gen) if train != gen else math.nan
