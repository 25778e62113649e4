#!/bin/sh
# An authority and certificates for the compose cluster, one folder for each holder (own.pem, own.key, ca.pem):
#   deploy/compose/certificates.sh FOLDER
# The role is the URI regent://ROLE/NAME among the subject alternative names. For a trial: the authority's key
# lies beside the certificates, and everything ends after a week.
set -eu
folder=${1:?usage: certificates.sh FOLDER}
days=7
mkdir -p "$folder"
cd "$folder"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days $days \
    -subj "/CN=regent compose" -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null

# issue NAME ROLE USES [SUBJECT-ALTERNATIVE-NAME...]
issue() {
    name=$1 role=$2 uses=$3
    shift 3
    names="URI:regent://$role/$name"
    for more in "$@"; do names="$names,$more"; done
    mkdir -p "$name"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$name/own.key" -out "$name/own.csr" \
        -subj "/CN=$name" 2>/dev/null
    printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=%s\n' "$uses" "$names" >"$name/own.ext"
    openssl x509 -req -in "$name/own.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days $days \
        -extfile "$name/own.ext" -out "$name/own.pem" 2>/dev/null
    cp ca.pem "$name/ca.pem"
    rm "$name/own.csr" "$name/own.ext"
}

for name in jm-1 jm-2 jm-3; do issue $name peer serverAuth,clientAuth "DNS:$name" DNS:localhost; done
for name in tm-1 tm-2; do issue $name worker serverAuth,clientAuth "DNS:$name" DNS:localhost; done
issue viewer viewer clientAuth
issue anna client clientAuth
issue root admin clientAuth
