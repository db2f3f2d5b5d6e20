#!/bin/sh
# certificate.sh FOLDER: an authority of one's own (authority.pem) and a certificate for the vendors' hosts with its key (vendors.pem), for `relay.py`.
set -eu
cd "$1"
umask 077
names='DNS:chatgpt.com,DNS:*.chatgpt.com,DNS:*.openai.com,DNS:*.anthropic.com,DNS:claude.ai,DNS:*.claude.ai,DNS:claude.com,DNS:*.claude.com'
names="$names,DNS:*.google.com,DNS:*.googleapis.com,DNS:github.com,DNS:*.github.com,DNS:*.githubcopilot.com,DNS:*.githubusercontent.com"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj '/CN=agents under test' -keyout authority.key -out authority.pem \
    -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign,cRLSign' 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/CN=vendors' -keyout vendors.key -out vendors.csr 2>/dev/null
printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n' "$names" >vendors.ext
openssl x509 -req -in vendors.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 30 -extfile vendors.ext -out vendors.crt 2>/dev/null
cat vendors.crt vendors.key >vendors.pem
