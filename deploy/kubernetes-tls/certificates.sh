#!/bin/sh
# Certificates and tokens for a trial of this overlay, and the commands that make secrets of them:
#   deploy/kubernetes-tls/certificates.sh FOLDER [JOBMANAGERS] [TASKMANAGERS]
# prints `kubectl create secret ...` for what it has made. Where cert-manager runs, it keeps the same secrets:
# docs/operations.md, "Kubernetes".
set -eu
folder=${1:?usage: certificates.sh FOLDER [JOBMANAGERS] [TASKMANAGERS]}
jobmanagers=${2:-5} taskmanagers=${3:-10}
here=$(dirname "$(realpath "$0")")
mkdir -p "$folder/tokens"
cd "$folder"
. "$here/../authority.sh"

# names SET COUNT: what the pods of a stateful set are called, within the namespace and beyond
names() {
    for at in $(seq "$2"); do printf 'DNS:%s-%s.%s DNS:%s-%s.%s.regent.svc ' "$1" "$at" "$1" "$1" "$at" "$1"; done
}

authority "regent kubernetes"
# One secret for all pods of a set, so the name in it is `*`.
# shellcheck disable=SC2046
issue jobmanager 'regent://peer/*' serverAuth,clientAuth $(names regent-jm "$jobmanagers") \
    DNS:regent DNS:regent.regent.svc DNS:localhost
# shellcheck disable=SC2046
issue taskmanager 'regent://worker/*' serverAuth,clientAuth $(names regent-tm "$taskmanagers") DNS:localhost
issue admin regent://admin/kubernetes clientAuth
for role in viewer operator admin; do openssl rand -hex 32 >"tokens/$role"; done

for holder in jobmanager taskmanager admin; do
    echo "kubectl -n regent create secret generic regent-$holder-tls --type=kubernetes.io/tls" \
        "--from-file=tls.crt=$PWD/$holder/own.pem --from-file=tls.key=$PWD/$holder/own.key --from-file=ca.crt=$PWD/ca.pem"
done
echo "kubectl -n regent create secret generic regent-tokens --from-file=$PWD/tokens"
