#!/usr/bin/env bash
# Checks every shell script of the repository: by shellcheck where it is installed, else that it parses.
set -euo pipefail
cd "$(dirname "$0")/../.."
mapfile -t scripts < <(find .ci testing crates config examples -name target -prune -o -name node_modules -prune \
  -o \( -name '*.sh' -o -path '.ci/run' \) -type f -print 2>/dev/null | sort)
for script in "${scripts[@]}"; do bash -n "$script"; done
if command -v shellcheck >/dev/null; then
  shellcheck --external-sources "${scripts[@]}"
else
  echo "SKIPPED: shellcheck is not installed (Debian: shellcheck); ${#scripts[@]} scripts only parsed"
fi
