#!/bin/sh
# An authority and certificates for the compose cluster, one folder for each holder (own.pem, own.key, ca.pem):
#   deploy/compose/certificates.sh FOLDER
# For a trial: see ../authority.sh. Run again on a folder, it makes everything anew.
set -eu
folder=${1:?usage: certificates.sh FOLDER}
here=$(dirname "$(realpath "$0")")
mkdir -p "$folder"
cd "$folder"
. "$here/../authority.sh"

authority "regent compose"
for name in jm-1 jm-2 jm-3; do issue $name regent://peer/$name serverAuth,clientAuth "DNS:$name" DNS:localhost; done
for name in tm-1 tm-2; do issue $name regent://worker/$name serverAuth,clientAuth "DNS:$name" DNS:localhost; done
issue viewer regent://viewer/viewer clientAuth
issue anna regent://client/anna clientAuth
issue root regent://admin/root clientAuth
