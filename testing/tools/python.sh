# shellcheck shell=bash
# Sourced by the scripts beside it.

# Prints the first Python that can make environments with pip in them, or nothing.
python_with_venv() {
  local candidate
  # Debian's own comes second: the first on the PATH may be another one, and the package adds venv to Debian's only.
  for candidate in python3 /usr/bin/python3; do
    if command -v "$candidate" >/dev/null 2>&1 && "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
      echo "$candidate"
      return
    fi
  done
}
