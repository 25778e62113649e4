# An authority and certificates by openssl, for trials: its key lies beside the certificates, and everything
# ends after $days. Sourced by compose/certificates.sh and kubernetes-tls/certificates.sh, in the folder that
# is to hold them. The role is the URI regent://ROLE/NAME among the subject alternative names.
days=7

# authority NAME: ca.pem and ca.key
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days $days \
        -subj "/CN=$1" -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
}

# issue FOLDER URI USES [SUBJECT-ALTERNATIVE-NAME...]: own.pem, own.key and ca.pem in that folder
issue() {
    name=$1 names="URI:$2" uses=$3
    shift 3
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
