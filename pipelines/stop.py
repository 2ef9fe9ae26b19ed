"""`python -m pipelines.stop`, which is `python -m pipelines.cluster stop`: see cluster/shutdown.py."""

import sys

from pipelines.cluster.shutdown import main

if __name__ == "__main__":
    sys.exit(main())
