#!/usr/bin/env bash
# The tracking server: runs in PostgreSQL, artifacts in an S3-compatible store, users by basic authentication.
#
# Everything comes from the environment, and nothing secret has a default. HOST and PORT say where to listen.
#   POSTGRES_HOST (or host:port) POSTGRES_DB POSTGRES_USER POSTGRES_PASSWORD
#   MLFLOW_ARTIFACTS_DESTINATION   s3://bucket/folder; the bucket is made when it is missing
#   MLFLOW_S3_ENDPOINT_URL AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
#   MLFLOW_AUTH_ADMIN_USERNAME MLFLOW_AUTH_ADMIN_PASSWORD     of the first user; made at the first start
#   MLFLOW_FLASK_SERVER_SECRET_KEY                            signs forms
#   MLFLOW_SERVER_ALLOWED_HOSTS    names that the server answers to
#   TLS_CERT TLS_KEY               optional files: https instead of http
set -euo pipefail
for name in POSTGRES_HOST POSTGRES_DB POSTGRES_USER POSTGRES_PASSWORD MLFLOW_ARTIFACTS_DESTINATION MLFLOW_S3_ENDPOINT_URL \
    AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY MLFLOW_AUTH_ADMIN_USERNAME MLFLOW_AUTH_ADMIN_PASSWORD \
    MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_SERVER_ALLOWED_HOSTS; do
    [ -n "${!name:-}" ] || { echo "serve.sh: $name is not set; infra/README.md says how" >&2; exit 2; }
done
umask 077

# An address, so what a password may hold of / @ and % is escaped.
MLFLOW_BACKEND_STORE_URI=$(python - <<'PYTHON'
import os
from urllib.parse import quote

user, password = (quote(os.environ[f"POSTGRES_{name}"], safe="") for name in ("USER", "PASSWORD"))
print(f"postgresql://{user}:{password}@{os.environ['POSTGRES_HOST']}/{os.environ['POSTGRES_DB']}")
PYTHON
)
export MLFLOW_BACKEND_STORE_URI
export MLFLOW_AUTH_CONFIG_PATH=$HOME/auth.ini MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
cat >"$MLFLOW_AUTH_CONFIG_PATH" <<INI
[mlflow]
default_permission = READ
database_uri = ${MLFLOW_BACKEND_STORE_URI//%/%%}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI
python - <<'PYTHON'
import os
from urllib.parse import urlsplit

import boto3

bucket = urlsplit(os.environ["MLFLOW_ARTIFACTS_DESTINATION"]).netloc
store = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
if bucket not in [found["Name"] for found in store.list_buckets()["Buckets"]]:
    store.create_bucket(Bucket=bucket)
PYTHON

tls=()
[ -z "${TLS_CERT:-}" ] || tls=(--uvicorn-opts "--ssl-certfile=$TLS_CERT --ssl-keyfile=$TLS_KEY")
exec python -m mlflow server --host "${HOST:-0.0.0.0}" --port "${PORT:-5000}" --workers 2 --app-name basic-auth \
    --artifacts-destination "$MLFLOW_ARTIFACTS_DESTINATION" "${tls[@]}"
