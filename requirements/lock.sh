#!/bin/sh
# Renew the locks: hashes for every file, no address of any registry. Run from the repository root with uv on PATH.
set -eu
lock() {
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-header "$@"
}
lock requirements/build.in -o requirements/build.txt
lock pyproject.toml -o requirements/base.txt
lock pyproject.toml --group dev -c requirements/base.txt -o requirements/dev.txt
if grep -nE '://|^--' requirements/*.txt; then
    echo "a lock names an address; fix it before committing" >&2
    exit 1
fi
