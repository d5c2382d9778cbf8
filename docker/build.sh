#!/usr/bin/env bash
# Builds the image of the reference backend, from nothing but a binary of ours: no image is pulled.
#
#   docker/build.sh [BINARY] [TAG] [OPTION OF DOCKER BUILD]...
#
# Without BINARY a static one is built for this machine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=${1:-}
tag=${2:-chaos-backend}

if [ -z "$binary" ]; then
  host=$(rustc -vV | sed -n 's/^host: //p')
  RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target "$host" --manifest-path "$here/../Cargo.toml"
  binary=$here/../target/$host/release/chaos
fi

image=$(mktemp -d)
trap 'rm -rf "$image"' EXIT
mkdir -p "$image/root" "$image/data"
touch "$image/data/.keep"
cp "$binary" "$image/root/chaos"
# A binary that is not static needs its loader and libraries beside it.
if ldd "$binary" >/dev/null 2>&1; then
  ldd "$binary" | grep -o '/[^ ]*' | sort -u | while read -r library; do
    mkdir -p "$image/root$(dirname "$library")"
    cp -L "$library" "$image/root$library"
  done
fi
cp "$here/Dockerfile" "$image/Dockerfile"
DOCKER_BUILDKIT=0 docker build --quiet "${@:3}" --tag "$tag" "$image" 2>/dev/null
