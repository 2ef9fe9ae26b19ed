#!/usr/bin/env bash
# What infra/ray/gcp.yaml needs of a project of its own: a network that lets in ssh from one address, and a file share.
#
#   PROJECT=my-project REGION=us-west1 ZONE=us-west1-a SSH_FROM=203.0.113.7/32 bash infra/gcp/account.sh
#
# Never run by the tests, which have no account. The address of the share that it prints belongs into infra/ray/gcp.yaml.
set -euo pipefail
for name in PROJECT REGION ZONE SSH_FROM; do
    [ -n "${!name:-}" ] || { echo "account.sh: $name is not set; its first lines say how" >&2; exit 2; }
done
[[ $SSH_FROM =~ ^[0-9.]+/(2[4-9]|3[0-2])$ ]] ||
    { echo "account.sh: SSH_FROM is $SSH_FROM; expected one address, such as 203.0.113.7/32" >&2; exit 2; }
gc() { gcloud --project="$PROJECT" --quiet "$@"; }

gc services enable compute.googleapis.com file.googleapis.com iam.googleapis.com cloudresourcemanager.googleapis.com
gc compute networks create stylegan2-ada --subnet-mode=custom
gc compute networks subnets create stylegan2-ada --network=stylegan2-ada --region="$REGION" --range=10.20.0.0/20 \
    --enable-private-ip-google-access
# Everything that no rule lets in is refused.
gc compute firewall-rules create stylegan2-ada-ssh --network=stylegan2-ada --direction=INGRESS --allow=tcp:22 \
    --source-ranges="$SSH_FROM" --target-tags=stylegan2-ada-head
gc compute firewall-rules create stylegan2-ada-inside --network=stylegan2-ada --direction=INGRESS --allow=tcp,udp,icmp \
    --source-tags=stylegan2-ada --target-tags=stylegan2-ada
# Workers have no public address; they install through this.
gc compute routers create stylegan2-ada --network=stylegan2-ada --region="$REGION"
gc compute routers nats create stylegan2-ada --router=stylegan2-ada --region="$REGION" --auto-allocate-nat-external-ips \
    --nat-all-subnet-ip-ranges
gc filestore instances create stylegan2-ada --zone="$ZONE" --tier=ZONAL --protocol=NFS_V4_1 \
    --file-share=name=stylegan,capacity=1TB --network=name=stylegan2-ada
gc filestore instances describe stylegan2-ada --zone="$ZONE" --format='value(networks[0].ipAddresses[0])'
