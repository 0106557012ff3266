#!/usr/bin/env bash
# Says in one line for each thing what this machine lacks and which package has it, before anything is compiled.
# Usage: testing/tools/check-machine.sh build|test...
#
# As root on Debian and its kin the missing packages are installed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OKRA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/okra}
# shellcheck source=testing/tools/python.sh
. "$here/python.sh"

missing=()  # what to tell
packages=() # what apt-get can do about it

has() { command -v "$1" >/dev/null 2>&1; }
lacks() {
  missing+=("$1")
  if [ -n "${2:-}" ]; then packages+=("$2"); fi
}

check_build() {
  if ! has cargo; then lacks "cargo: install Rust with rustup (https://rustup.rs)"; fi
  # aws-lc-rs, the cryptography under TLS, compiles C; where it has no prepared build it uses cmake.
  if ! has cc; then lacks "cc: install a C compiler (Debian: build-essential)" build-essential; fi
  if ! has cmake; then lacks "cmake: install cmake (Debian: cmake)" cmake; fi
}

go_is_needed() {
  local tool
  if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/etcd" ] && [ -x "$KUBEBUILDER_ASSETS/kube-apiserver" ]; then
    return 1
  fi
  for tool in etcd kube-apiserver kubectl kube-controller-manager; do
    compgen -G "$cache/*/$tool" >/dev/null || return 0
  done
  return 1
}

check_go() {
  local version
  go_is_needed || return 0
  local remedy="install it (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl"
  if ! has go; then lacks "go 1.26: $remedy"; return; fi
  version=$(go env GOVERSION)
  version=${version#go}
  if ! printf '1.26\n%s\n' "$version" | sort -C -V; then lacks "go 1.26: this one is $version; $remedy"; fi
}

check_test() {
  check_go
  if [ -z "$(python_with_venv)" ]; then
    lacks "python3 with venv: install both (Debian: python3 and python3-venv)" "python3 python3-venv"
  fi
  # Where apt-get is, its package is unpacked by prometheus.sh.
  if ! "$here/prometheus.sh" --there >/dev/null && ! { has apt-get && has dpkg-deb; }; then
    lacks "prometheus: install it (https://prometheus.io/download) so that it is on the PATH"
  fi
}

check() {
  local part
  missing=() packages=()
  for part in "$@"; do "check_$part"; done
}

if [ $# -eq 0 ]; then set -- build test; fi
check "$@"
if [ ${#packages[@]} -gt 0 ] && [ "$(id -u)" -eq 0 ] && has apt-get; then
  # Some entries name two packages.
  # shellcheck disable=SC2206
  wanted=(${packages[@]})
  echo "check-machine: installing ${wanted[*]}" >&2
  apt-get update -q >&2 || echo "check-machine: apt-get update failed; going on with the lists that are here" >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${wanted[@]}" >&2 || true
  hash -r
  check "$@"
fi
if [ ${#missing[@]} -gt 0 ]; then
  for line in "${missing[@]}"; do echo "check-machine: missing $line" >&2; done
  exit 1
fi
echo "check-machine: this machine has what is needed ($*)"
