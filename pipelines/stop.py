"""`python -m pipelines.stop`, which is `python -m pipelines.cluster stop`: see cluster/shutdown.py."""

from pipelines.cluster import shutdown

if __name__ == "__main__":
    shutdown.main()
