#!/usr/bin/env bash
# Builds the reference backend's image if there is none, and starts it as the experiments in experiments/docker expect it.
#
#   docker/up.sh                                        healthy
#   docker/up.sh --speed 100 --slots 6 --defect jobs-lost-on-restart
#   docker/up.sh down                                   removes it, and its volume
#
# NAME, PORT and IMAGE change what its name says.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
name=${NAME:-chaos-backend} port=${PORT:-18188} image=${IMAGE:-chaos-backend}

docker rm --force "$name" >/dev/null 2>&1 || true
docker volume rm --force "$name-data" >/dev/null 2>&1 || true
if [ "${1:-}" = down ]; then
  exit
fi
docker image inspect "$image" >/dev/null 2>&1 || "$here/build.sh" "" "$image"
if [ $# = 0 ]; then
  set -- --speed 100 --slots 6
fi
docker run --detach --name "$name" --label chaos.allow=true --memory 512m \
  --publish "127.0.0.1:$port:5000" --volume "$name-data:/data" "$image" "$@" >/dev/null
for _ in $(seq 100); do
  if docker exec "$name" /chaos backend --probe http://127.0.0.1:5000/health 2>/dev/null; then
    echo "$name answers at http://127.0.0.1:$port"
    exit
  fi
  sleep 0.1
done
echo "$name does not answer; see: docker logs $name" >&2
exit 1
