#!/bin/sh
# Checks the units and manifests below this directory without running them:
#   deploy/check.sh target/ci/regent
# systemd-analyze checks the units, kubernetes-validate (from PyPI, with the schemas inside) the manifests, and
# the binary itself the configurations. What isn't installed is said and skipped.
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
echo "configurations: checked"

if command -v docker-compose >/dev/null; then
    WORK=/work FLIGHTS=/flights docker-compose -f "$here/compose/docker-compose.yml" config -q
    echo "compose: file checked"
else
    echo "compose: skipped, no docker-compose here"
fi

if command -v kubernetes-validate >/dev/null; then
    for manifest in "$here"/kubernetes/*.yaml; do
        case $manifest in */kustomization.yaml) continue ;; esac
        kubernetes-validate --strict --quiet "$manifest"
    done
    echo "kubernetes: manifests validated"
else
    echo "kubernetes: skipped, no kubernetes-validate here (pip install kubernetes-validate)"
fi
