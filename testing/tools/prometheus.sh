#!/usr/bin/env bash
# Prints the path of a Prometheus. One on the PATH is used; else Debian's package is unpacked, once, into the cache:
# nothing is installed on the machine, and no service starts.
# Usage: testing/tools/prometheus.sh [--there]    with --there: fails, and gets nothing, where there is none yet
set -euo pipefail
cache=${OKRA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/okra}
folder=$cache/prometheus
program=$folder/usr/bin/prometheus

if command -v prometheus; then exit 0; fi
if [ -x "$program" ]; then echo "$program"; exit 0; fi
if [ "${1:-}" = --there ]; then exit 1; fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
  echo "prometheus: install it (https://prometheus.io/download) so that it is on the PATH" >&2
  exit 1
fi

echo "prometheus: getting Debian's package (once; kept in $folder)" >&2
mkdir -p "$cache"
own=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$own"' EXIT
# apt's own user, to which it drops when it is root, has to be able to write there.
chmod 755 "$own"
mkdir "$own/package"
chmod 777 "$own/package"
get() { (cd "$own/package" && apt-get download -q prometheus >&2); }
if ! get; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "prometheus: apt-get download failed; run apt-get update as root, or install prometheus" >&2
    exit 1
  fi
  apt-get update -q >&2
  get
fi
dpkg-deb -x "$own"/package/prometheus_*.deb "$own/tree"
"$own/tree/usr/bin/prometheus" --version >/dev/null 2>&1
# Two may race: the first that is whole stays.
mv -T "$own/tree" "$folder" 2>/dev/null || [ -x "$program" ] || { rm -rf "$folder"; mv -T "$own/tree" "$folder"; }
echo "$program"
