#!/usr/bin/env bash
# Installs moto, the AWS emulator, into a Python environment of its own and prints the path of its server.
# Usage: testing/tools/moto.sh VERSION FOLDER
#
# Two may race, and one may be killed in the middle: each builds an environment in a folder of its own (they hold
# absolute paths and cannot be moved), and FOLDER becomes a link to the first that is whole.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=${1:?which version?} folder=${2:?which folder?}
# shellcheck source=testing/tools/python.sh
. "$here/python.sh"

server=$folder/bin/moto_server
is_there() { [ -e "$folder/.complete" ] && [ -x "$server" ]; }

if is_there; then
  echo "moto: $server"
  exit 0
fi
python=$(python_with_venv)
if [ -z "$python" ]; then
  echo "moto: python3 with venv is missing (Debian: python3-venv)" >&2
  exit 1
fi
echo "moto: installing $version (once; kept in $folder)" >&2
mkdir -p "$(dirname "$folder")"
own=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$own"' EXIT
"$python" -m venv "$own"
"$own/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --retries 5 --timeout 60 \
  "moto[server,elbv2,eks,sts,route53,cloudwatch,resourcegroupstaggingapi,ec2]==$version" >&2
"$own/bin/python" -c 'import moto.server'
touch "$own/.complete"

if ! is_there; then
  rm -rf "$folder"
  # Unlike ln, this never puts the link inside a folder that another made in this moment; it fails instead.
  if "$python" -c 'import os, sys; os.symlink(*sys.argv[1:])' "$(basename "$own")" "$folder" 2>/dev/null; then
    trap - EXIT
  fi
fi
is_there || { echo "moto: $folder is not what was just installed there" >&2; exit 1; }
echo "moto: $server"
