"""How much each generated image looks like a real one: for a person who wants to see the best and the worst.

N real, M generated samples, F features, k neighbours.
"""

import torch
from torch import Tensor

from stylegan.metrics.arrays import Array
from stylegan.metrics.neighbors import radii, rounding_of_fp32, squared_distances
from stylegan.metrics.precision_recall import centred


def realism(real: Array, gen: Array, k: int) -> Tensor:
    """Realism score of each of gen [M, F] among real [N, F]; from 1 on it lies in a ball of a real sample  ->  [M]

    The largest ratio of a ball's radius to the distance from its centre, over the half of the balls that are smallest,
    so that outliers make nothing realistic (Kynkaanniemi et al. 2019, Eq. 3). Finite, and equal for all that are
    nearer than fp32 can tell, such as copies. Raises MetricError for too few samples.
    """
    x, y = centred(real, gen, k + 1)
    reach = radii(x, k)
    small = reach <= reach.median()
    x, reach = x[small], reach[small].float()
    score = torch.zeros(len(y), device=y.device)
    nearest = max(rounding_of_fp32(x, y), torch.finfo(torch.float32).tiny)
    for rows, columns, tile in squared_distances(y.float(), x.float()):
        ratio = reach[columns] / tile.clamp_min(nearest)
        score[rows] = torch.maximum(score[rows], ratio.amax(dim=1))
    return score.sqrt()
