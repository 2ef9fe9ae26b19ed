"""Images over HTTP: one process (`stylegan serve`), or replicas on a cluster (on_ray.py, infra/serve/ray.yaml)."""
