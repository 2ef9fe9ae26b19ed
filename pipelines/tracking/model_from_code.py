"""What MLflow runs of a logged model: rows of seed, class and psi -> a column of PNG files as base64.

MLflow executes a copy of this file, next to copies of the package `stylegan` and of the generator ("models from code").
Nothing is pickled, and an image has the bytes that `stylegan generate` gives the same seed alone.
"""

import base64
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from stylegan.backends import prepare_device
from stylegan.drawing.requested import PSI, Request, RequestError, check_request, draw
from stylegan.generators import load_any_generator


class SeedsToImages(PythonModel):
    """Draws with the generator of the artifacts, on the device of model_config (cpu unless told otherwise)."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the generator."""
        device = torch.device((context.model_config or {}).get("device", "cpu"))
        prepare_device(device, "auto", allow_tf32=False)
        G, self.class_names = load_any_generator(Path(context.artifacts["generator"]))
        self.G = G.to(device)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One PNG for each row. Raises MlflowException, which a server answers with 400, for what cannot be drawn."""
        try:
            requests = [self._request(row) for row in model_input.to_dict("records")]
        except RequestError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return pd.DataFrame({"png": [base64.b64encode(png).decode() for png in draw(self.G, requests)]})

    def _request(self, row: dict[str, Any]) -> Request:
        given = {name: value for name, value in row.items() if not pd.isna(value)}  # optional columns may be missing
        return check_request(
            self.G, self.class_names, seed=given["seed"], psi=given.get("psi", PSI), class_name=given.get("class")
        )


set_model(SeedsToImages())
