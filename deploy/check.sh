#!/bin/sh
# Checks the units and manifests below this directory without running them:
#   deploy/check.sh target/ci/regent
# systemd-analyze checks the units, kubernetes-validate (from PyPI, with the schemas inside) the manifests and what
# `kubectl kustomize` makes of them, and the binary itself the configurations. What isn't installed is said and skipped.
set -eu
regent=$(realpath "${1:?usage: deploy/check.sh PATH-TO-REGENT}")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if command -v systemd-analyze >/dev/null; then
    for unit in "$here"/systemd/*.service; do
        # The binary is where it was built, and the user isn't created here.
        sed -e "s|/usr/bin/regent|$regent|" -e 's/^User=.*/User=daemon/' -e '/^Group=/d' "$unit" >"$work/$(basename "$unit")"
    done
    systemd-analyze verify "$work"/*.service
    # The same with credentials from systemd.
    for role in jobmanager taskmanager; do
        mkdir -p "$work/credentials/regent-$role.service.d"
        cp "$work/regent-$role.service" "$work/credentials/"
        sed -e "s|/usr/bin/regent|$regent|" "$here/systemd/credentials-$role.conf" >"$work/credentials/regent-$role.service.d/credentials.conf"
        systemd-analyze verify "$work/credentials/regent-$role.service"
    done
    for unit in "$work"/*.service; do
        systemd-analyze security --offline=true --threshold=25 "$unit" >/dev/null
    done
    echo "systemd: units verified"
else
    echo "systemd: skipped, no systemd-analyze here"
fi

for config in "$here"/examples/*manager.yaml "$here"/kubernetes/config/*.yaml; do
    "$regent" config check "$config" >/dev/null
done
# Those with TLS need their files: certificates of a trial, in the places of the mounted secrets.
if command -v openssl >/dev/null; then
    "$here/kubernetes-tls/certificates.sh" "$work/tls" >/dev/null
    for role in jobmanager taskmanager; do
        files=$work/tls/$role
        sed -e "s|/etc/regent-tls/tls.crt|$files/own.pem|" -e "s|/etc/regent-tls/tls.key|$files/own.key|" \
            -e "s|/etc/regent-tls/ca.crt|$files/ca.pem|" -e "s|/etc/regent-tokens|$work/tls/tokens|g" \
            "$here/kubernetes-tls/config/$role.yaml" >"$work/$role.yaml"
        "$regent" config check "$work/$role.yaml" >/dev/null
    done
    echo "configurations: checked, with certificates"
else
    echo "configurations: checked; those with TLS skipped, no openssl here"
fi

if command -v docker-compose >/dev/null; then
    WORK=/work FLIGHTS=/flights docker-compose -f "$here/compose/docker-compose.yml" config -q
    echo "compose: file checked"
else
    echo "compose: skipped, no docker-compose here"
fi

if command -v kubernetes-validate >/dev/null; then
    for manifest in "$here"/kubernetes/*.yaml "$here"/kubernetes-tls/taskmanager.yaml; do
        case $manifest in */kustomization.yaml) continue ;; esac
        kubernetes-validate --strict --quiet "$manifest"
    done
    echo "kubernetes: manifests validated"
    if command -v kubectl >/dev/null; then
        for folder in kubernetes kubernetes-tls; do
            kubectl kustomize "$here/$folder" >"$work/$folder.yaml"
            kubernetes-validate --strict --quiet "$work/$folder.yaml"
        done
        echo "kubernetes: what kustomize makes of both folders validated"
    else
        echo "kubernetes: patches skipped, no kubectl here"
    fi
else
    echo "kubernetes: skipped, no kubernetes-validate here (pip install kubernetes-validate)"
fi
