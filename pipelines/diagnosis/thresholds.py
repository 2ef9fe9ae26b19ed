"""Every limit that alarms, verdicts and the report judge by, each defined once; shared_rules.py says how some are read.

The language of the warnings, not parameters of a run; the page prints the limits next to the verdicts.
"""

# While training.
KID_RISE = 1.5  # times the best so far; runs that differ in nothing but rounding differ by as much at one moment
KID_ERRORS = 3.5  # standard errors of a difference, beyond 1.5 times: the best of many snapshots was lucky as well
SNAPSHOTS = 2  # in a row with a bad number: one alone may be chance
EARLY, EARLY_KIMG = 0.5, 50  # share of the run, and length, in which a generator may have no variety yet
SOME_RECALL = 0.02  # below, one image of a small sample makes all the difference
LOW_SPREAD, SOME_SPREAD = 0.1, 0.3  # of the real images' spread
LOGIT_GAP = 8.0  # D gives real images odds e^8 times those of generated ones: hardly any gradient is left for G
GAP_TICKS = 3  # in a row
R_T_SLACK = 0.1  # of r_t or r_v above augment.ada_target: D knows the training set by heart
LEAK_FREE_P = 0.8  # highest p whose augmentations do not show in generated images (Karras et al. 2020a, Sec. 2.2)
AT_CAP = 0.98  # of augment.p_max: p steps up and down, and rarely stands on it
SLOW, SLOW_TICKS = 1.5, 3  # times the faster half of the ranks, that many ticks in a row

# Of a trained generator. Distances are graded by their excess over the real-image baseline, which bias does not move.
GOOD_SHARE = 0.01  # of the untrained generator's excess
OK_SHARE = 0.1
NOISE_ERRORS = 2.0  # standard errors of a difference, within which two numbers are statistically indistinguishable
GOOD_SHARE_OF_REAL = 0.7  # of what real images score in precision, recall, coverage, density and IS
OK_SHARE_OF_REAL = 0.3
LOWEST_IS = 1.0  # the Inception Score of images that are all alike
FEW_COPIES = 0.02  # of all generated images, more than of real ones: a share that people who look through images notice
FEW_IMAGES = 5000  # below, KID and FID still move with the number of generated images
MARGIN = 0.05  # of the lowest distance, where it has no standard error: too little to give up variety for

SNAPSHOTS_FOR_TREND = 8  # in the later half of a run: a line through fewer is mostly chance
LITTLE = 0.1  # of KID: a run twice as long that gains less is not worth its time

STRONGER = 4  # times the weight of the regulariser of D, whose useful values lie powers of two apart
