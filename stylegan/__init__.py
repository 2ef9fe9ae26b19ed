"""StyleGAN2-ADA: mathematics and state, independent of how it is launched, stored and tracked."""
