#!/usr/bin/env bash
# Builds one of the programs that the tests start and prints the folder it lies in.
# Usage: testing/tools/build.sh etcd | kube-apiserver | kubectl | kube-controller-manager
#
# The result is kept outside the repository, keyed by version, so that a second
# clone pays nothing. A copy is moved into place whole: two builds may race.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${OKRA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/okra}
tool=${1:?which program?}

# The version that go.mod of module $1 requires of package $2.
pinned() { sed -n "s|^\\(require\\)\\?[[:space:]]*$2 \\(v[^ ]*\\).*|\\2|p" "$here/$1/go.mod" | head -n 1; }

case $tool in
  etcd)
    module=etcd package=go.etcd.io/etcd/server/v3
    version=$(pinned etcd go.etcd.io/etcd/server/v3) ;;
  kube-apiserver | kubectl | kube-controller-manager | kube-scheduler)
    module=kube package=k8s.io/kubernetes/cmd/$tool
    version=$(pinned kube k8s.io/kubernetes) ;;
  *) echo "build.sh: no program is called $tool" >&2; exit 2 ;;
esac

out=$cache/$module-$version
if [ -x "$out/$tool" ]; then echo "$out"; exit 0; fi
if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$tool" ]; then
  echo "$KUBEBUILDER_ASSETS"; exit 0
fi
command -v go >/dev/null || {
  echo "build.sh: $tool $version is not in $cache and there is no Go 1.26 to build it:" >&2
  echo "  install Go (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a folder that holds $tool" >&2
  exit 1
}

ldflags="-s -w"
if [ "$module" = kube ]; then
  minor=${version#v1.}; minor=${minor%%.*}
  base=k8s.io/component-base/version
  # Without these the server calls itself v0.0.0-master and clients draw wrong conclusions.
  ldflags="$ldflags -X $base.gitVersion=$version -X $base.gitMajor=1 -X $base.gitMinor=$minor"
fi
mkdir -p "$out"
echo "building $tool $version (once; kept in $out)" >&2
tmp=$(mktemp -d "$out/.build.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
(cd "$here/$module" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$ldflags" -o "$tmp/$tool" "$package") >&2
mv "$tmp/$tool" "$out/$tool"
echo "$out"
