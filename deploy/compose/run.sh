#!/bin/bash
# The compose cluster from nothing to a verdict, over TLS with tokens:
#   deploy/compose/run.sh PATH-TO-REGENT
# builds an image around the binary and Debian's Prometheus, starts three JobManagers and two TaskManagers, submits the
# flights job, cuts the leader's container from the network, heals it, kills another, compares the output with a plain
# computation, rehearses failures with `regent drill` on the containers, and takes everything down. Needs root, Docker Engine with docker-compose, openssl and apt:
#   apt-get install docker.io docker-compose iptables openssl
# DRILLS names the drills (`DRILLS=` none), ROUNDS how often each. KEEP=1 leaves the cluster running; WORK=FOLDER keeps certificates, logs and output there.
set -euo pipefail

regent=$(realpath "${1:?usage: deploy/compose/run.sh PATH-TO-REGENT}")
here=$(dirname "$(realpath "$0")")
FLIGHTS=$(realpath "$here/../examples/data/flights")
export FLIGHTS
kept=${WORK:+yes}
WORK=${WORK:-$(mktemp -d)}
WORK=$(mkdir -p "$WORK" && realpath "$WORK")
export WORK DOCKER_BUILDKIT=0 COMPOSE_PROJECT_NAME=regent-compose
network=${COMPOSE_PROJECT_NAME}_cluster
dockerd=

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
fail() {
    say "FAILED: $*"
    exit 1
}

# ------------------------------------------------------------------------------------------ engine and image

start_engine() {
    if docker info >/dev/null 2>&1; then return; fi
    say "no Docker Engine answers; starting one"
    dockerd >"$WORK/dockerd.log" 2>&1 &
    dockerd=$!
    for _ in $(seq 60); do
        if docker info >/dev/null 2>&1; then return; fi
        kill -0 "$dockerd" 2>/dev/null || break
        sleep 0.5
    done
    tail -5 "$WORK/dockerd.log"
    fail "the Docker Engine doesn't start"
}

# take FILE NAME: a program into the root file system, with the libraries that it needs
take() {
    install -D "$1" "$root/usr/bin/$2"
    # A static program needs none.
    for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*\.so[^ ]*' || true); do
        install -D "$(realpath "$library")" "$root$library"
    done
}

build_image() {
    root=$WORK/rootfs
    mkdir -p "$root"/{tmp,etc/regent/tls,etc/regent/tokens,data/flights,out,var/lib/regent/data,var/lib/regent/checkpoints} "$WORK/debian"
    take "$regent" regent
    # For drills, which are run from inside the network.
    take "$(command -v docker)" docker
    # Lines of source in backtraces are most of a test build.
    strip "$root/usr/bin/regent" 2>/dev/null || true
    (cd "$WORK/debian" && apt-get download -qq prometheus >/dev/null 2>&1 && dpkg -x prometheus_*.deb .)
    take "$WORK/debian/usr/bin/prometheus" prometheus
    take "$WORK/debian/usr/bin/promtool" promtool
    cp "$here"/config/* "$root/etc/regent/"
    printf 'regent:x:65532:65532::/tmp:/none\n' >"$root/etc/passwd"
    printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
    chmod 1777 "$root/tmp"
    tar -C "$root" --owner=65532 --group=65532 -cf "$WORK/rootfs.tar" .
    mkdir -p "$WORK/image"
    mv "$WORK/rootfs.tar" "$WORK/image/"
    docker build -q -t regent-compose:local -f "$here/Dockerfile" "$WORK/image" >/dev/null 2>"$WORK/build.log" || { cat "$WORK/build.log"; fail "the image can't be built"; }
}

make_secrets() {
    "$here/certificates.sh" "$WORK/tls"
    mkdir -p "$WORK/tokens" "$WORK/out"
    for role in viewer operator admin; do openssl rand -hex 32 >"$WORK/tokens/$role"; done
    # One folder for each holder, readable by the containers' user alone.
    chmod 0700 "$WORK/tls" "$WORK/tokens" "$WORK/tls"/*/
    chown -R 65532:65532 "$WORK/tls" "$WORK/tokens" "$WORK/out"
}

# ------------------------------------------------------------------------------------------------- questions

# ask CERTIFICATE TOKEN-FILE ARGUMENTS...: the command line, in a container of its own
ask() {
    local holder=$1 token=$2
    shift 2
    local shown=("${more[@]}")
    if [ -n "$token" ]; then shown+=(-v "$WORK/tokens/$token:/token:ro" -e REGENT_TOKEN_FILE=/token); fi
    docker run --rm --user 65532:65532 --network "$network" -v "$WORK/tls/$holder:/tls:ro" -v "$WORK/out:/out" \
        -v "$WORK/job.yaml:/job.yaml:ro" -w /out \
        -e REGENT_TLS_CA=/tls/ca.pem -e REGENT_TLS_CERTIFICATE=/tls/own.pem -e REGENT_TLS_KEY=/tls/own.key \
        -e REGENT_ENDPOINTS=jm-1:7101,jm-2:7101,jm-3:7101 "${shown[@]}" regent-compose:local "$@"
}
more=()
anna() { ask anna operator "$@"; }
admin() { ask root "" "$@"; }

# rehearse SCENARIO ROUNDS: a drill on the containers, by the engine's socket
rehearse() {
    local socket=${DOCKER_HOST:-unix:///var/run/docker.sock} report
    socket=${socket#unix://}
    local more=(--group-add "$(stat -c %g "$socket")" -v "$socket:/var/run/docker.sock")
    report=$(admin drill run "$1" --rounds "$2" --compose-project "$COMPOSE_PROJECT_NAME" --work-dir /out/drills \
        --report "/out/$1.html" --timeout 20s 2>"$WORK/drill.log") || {
        cat "$WORK/drill.log"
        fail "the drill $1: $report"
    }
    say "drill $1: $(tail -1 <<<"$report"); recovered: p50 $(awk '$1 == "recovered" { print $3 ", max " $5 }' <<<"$report")"
}

# refused WORDS COMMAND...: it must end with 5 and say so
refused() {
    local words=$1 code=0 text
    shift
    text=$("$@" 2>&1) || code=$?
    [ "$code" = 5 ] || fail "exit $code instead of 5: $* ($text)"
    case $text in *"$words"*) say "refused as it should be: $text" ;; *) fail "other words than \`$words\`: $text" ;; esac
}

pick() { python3 -c "import json,sys; d=json.load(sys.stdin); print($1)"; }
leader() { admin leader show -o json 2>/dev/null | pick 'd["leader"]["name"] if d["leader"] else ""' 2>/dev/null; }
state() { anna job show "$job" -o json 2>/dev/null | pick 'd["state"]' 2>/dev/null; }

# until_ok SECONDS WHAT COMMAND...
until_ok() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "not in time: $what"
        sleep 0.3
    done
}
leads_other() { now=$(leader) && [ -n "$now" ] && [ "$now" != "$1" ]; }
is() { [ "$(state)" = "$1" ]; }
both_workers() { [ "$(anna worker list -o json 2>/dev/null | pick 'sum(w["state"]=="registered" for w in d)' 2>/dev/null)" = 2 ]; }
three_replicas() { [ "$(admin leader show -o json 2>/dev/null | pick 'sum(r["role"]!="unreachable" for r in d["replicas"])' 2>/dev/null)" = 3 ]; }
all_seen() {
    [ "$(docker-compose -f "$here/docker-compose.yml" exec -T prometheus promtool query instant http://127.0.0.1:9090 'sum(up)' 2>/dev/null |
        grep -c '=> 5 ')" = 1 ]
}
compose() { docker-compose -f "$here/docker-compose.yml" "$@"; }
container() { compose ps -q "$1"; }

# ----------------------------------------------------------------------------------------------------- story

expected() {
    # Long flights for each carrier: how many, how far, the worst delay (none: no value).
    awk -F, 'FNR > 1 && $16 >= 500 {
        n[$10]++; miles[$10] += $16
        if ($6 != "" && $6 != "NA" && (!($10 in worst) || $6 + 0 > worst[$10])) worst[$10] = $6 + 0
    } END { for (c in n) printf "%s,%d,%d,%s\n", c, n[c], miles[c], c in worst ? worst[c] + 0 : "" }' \
        "$FLIGHTS"/*.csv | sort
}
found() {
    find "$WORK/out/flights" -type f -not -path '*/.*' -not -path '*/_*' -exec tail -q -n +2 {} + |
        awk -F, -v OFS=, '{ if ($4 != "") $4 = $4 + 0; print }' | sort
}

tidy() {
    code=$?
    if [ -n "${KEEP:-}" ] && [ $code = 0 ]; then
        say "left running; take it down with: WORK=$WORK FLIGHTS=$FLIGHTS docker-compose -p $COMPOSE_PROJECT_NAME -f $here/docker-compose.yml down -v"
        exit 0
    fi
    if [ $code != 0 ] && [ -e "$WORK/image" ]; then
        compose logs --no-color --tail=30 2>/dev/null | tail -150 || true
    fi
    compose down -v --remove-orphans >/dev/null 2>&1 || true
    docker image rm -f regent-compose:local >/dev/null 2>&1 || true
    if [ -n "$dockerd" ]; then
        kill "$dockerd" 2>/dev/null || true
        wait "$dockerd" 2>/dev/null || true
    fi
    if [ -z "$kept" ]; then rm -rf "$WORK"; fi
    exit $code
}
trap tidy EXIT

start_engine
say "engine: Docker $(docker version -f '{{.Server.Version}}')"
build_image
make_secrets
sed -e 's|path: deploy/examples/data/flights|path: /data/flights|' -e 's|path: out/flights-per-carrier|path: /out/flights|' \
    "$here/../examples/jobs/flights-per-carrier.yaml" >"$WORK/job.yaml"
compose up -d >"$WORK/up.log" 2>&1 || { cat "$WORK/up.log"; fail "the containers don't start"; }
say "containers started"

until_ok 60 "the JobManagers wait for bootstrap" admin cluster bootstrap --timeout 5s >/dev/null 2>&1
until_ok 30 "a leader" leads_other ""
until_ok 30 "both workers" both_workers
say "cluster formed, $(leader) leads, both workers are registered"

refused "you are client:anna" ask anna "" job list
refused "you are viewer:anna" ask anna viewer job cancel 00000000
refused "you are worker:tm-1" ask tm-1 "" leader show

job=$(anna job submit /job.yaml -o json | pick 'd["job_id"]')
until_ok 30 "the job runs" is RUNNING
until_ok 30 "Prometheus sees all five processes" all_seen
say "job $job runs; Prometheus sees all five processes"

first=$(leader)
say "cutting $first, the leader, from the network"
docker network disconnect "$network" "$(container "$first")"
until_ok 30 "another leader" leads_other "$first"
second=$(leader)
until_ok 30 "the job runs under $second" is RUNNING
say "$second leads, the job runs"
docker network connect --alias "$first" "$network" "$(container "$first")"
until_ok 30 "$first is back" three_replicas
say "$first is back"

say "killing $second, the leader"
docker kill "$(container "$second")" >/dev/null
until_ok 30 "another leader" leads_other "$second"
say "$(leader) leads"
docker start "$(container "$second")" >/dev/null
until_ok 30 "$second is back" three_replicas
admin debug bundle --out /out/bundle.tar >/dev/null
tar -tf "$WORK/out/bundle.tar" | grep -q 'metrics/jm-1_7101.txt$' || fail "the bundle has no metrics"
say "debug bundle: $(tar -tf "$WORK/out/bundle.tar" | wc -l) files"
until_ok 120 "the job ends" is FINISHED

attempts=$(anna job show "$job" -o json | pick 'd["attempt"]')
adoptions=$(anna job show "$job" -o json | pick 'd["adoptions"]')
actor=$(anna log tail -n 1000 -o json | pick 'next((e["actor"] for e in d if (e.get("actor") or "").startswith("operator:")), "")' || true)
diff <(expected) <(found) || fail "the output differs from the plain computation"
say "output: $(found | wc -l) carriers, as computed plainly; attempts: $attempts, takeovers that kept it: $adoptions; submitted by ${actor:-?}"
[ "$attempts" = 1 ] || fail "the job was restarted"
for scenario in ${DRILLS-leader-kill leader-pause worker-kill}; do rehearse "$scenario" "${ROUNDS:-2}"; done
say "VERDICT: ok - one leader cut off, one killed, nothing lost or doubled, over TLS"
