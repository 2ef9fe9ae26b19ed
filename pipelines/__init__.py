"""Plumbing around `stylegan`: DVC stages, Ray, MLflow."""
