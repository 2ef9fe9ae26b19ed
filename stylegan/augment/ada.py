"""The controller of the augmentation probability."""


def adjust_p(p: float, r_t: float, *, target: float, nimg: int, ada_kimg: float, p_max: float) -> float:
    """Move p by nimg / (1000 ada_kimg) towards the overfitting target (Karras et al. 2020a, Sec. 3.1).

    r_t = E[sign(D(real))] over the nimg images since the last adjustment; 1 means D is certain of every real image.
    """
    direction = (r_t > target) - (r_t < target)
    return min(max(p + direction * nimg / (ada_kimg * 1000), 0.0), p_max)
