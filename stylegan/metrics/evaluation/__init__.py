"""From generated and real images to numbers: sampling, features, shards of ranks, results by name."""
