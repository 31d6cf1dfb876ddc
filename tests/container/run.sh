#!/bin/sh
# Build the image's CPU target on a Debian root of this machine's own making, and run it as compose.yaml does: not
# as root, on a read-only root. Needs root on Debian; elsewhere says why it is left out. PYTHON: of the environment.
set -eu
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-.venv/bin/python}
PHOTO=models/portrait/default-portrait.webp
UNTIL_HEALTHY_S=240 UNTIL_ENDED_S=25 COMMAND_S=60 FETCH_S=120 BUILD_S=1200 # the second is stop_grace_period in compose.yaml
# Of apt, pip and the kernel.
OUT_OF_REACH="Failed to fetch|Could not resolve|Temporary failure in name|Connection (refused|timed out|reset)|\
ReadTimeout|ConnectTimeout|NewConnectionError|Network is unreachable|No space left on device"

fetch() { DEBIAN_FRONTEND=noninteractive timeout "$FETCH_S" apt-get -qq "$@"; } # a mirror may never answer
skip() { echo "the container's tests are left out: $*"; exit 0; }
[ "$(id -u)" = 0 ] || skip "only root can build and run an image without an engine"
[ -e /etc/debian_version ] && command -v apt-get >/dev/null || skip "the tools come as Debian's packages"
STORE=$(mkdir -p .venv/container && cd .venv/container && pwd)
missing=""
for one in buildah:buildah systemd-nspawn:systemd-container ip:iproute2 curl:curl nsenter:util-linux setpriv:util-linux; do
	command -v "${one%:*}" >/dev/null || missing="$missing ${one#*:}"
done
if [ -n "$missing" ]; then
	echo "installing for the container's tests:$missing"
	# shellcheck disable=SC2086 # one word each
	{ fetch update && fetch install -y --no-install-recommends $missing; } >"$STORE/apt.log" 2>&1 </dev/null \
		|| skip "apt-get cannot install$missing, see $STORE/apt.log"
fi
said=0
base=$("$PYTHON" -c '
import sys
from tests.service.image import UnavailableError, prepare
try:
    print(prepare("bookworm"))
except UnavailableError as error:
    print(error)
    sys.exit(3)') || said=$?
base=$(printf '%s\n' "$base" | tail -n 1)
[ "$said" != 3 ] || skip "there is no Debian root to build on: $base"
[ -d "$base" ] || { echo "container: no Debian root to build on: $base" >&2; exit 1; }

work=$(mktemp -d /tmp/mc-image-XXXXXX)
id=${work##*-}
# Addresses of its own: a run that was killed has left its network behind.
subnet=10.213.$(($$ % 250 + 1))
net=mc$id outside=$subnet.1 inside=$subnet.2 nspawn="" made=""
store() { timeout "$BUILD_S" buildah --root "$STORE/storage" --runroot "$work/buildah" "$@"; }
ip netns add "$net" 2>/dev/null || { rmdir "$work"; skip "no network namespace can be made here"; }
tidy() {
	[ -z "$nspawn" ] || kill -9 "$nspawn" 2>/dev/null || true
	ip netns del "$net" || true
	[ -z "$made" ] || store rm "$made" >/dev/null || true
	rm -rf --one-file-system "$work"
}
trap tidy EXIT
trap 'exit 1' INT TERM
fail() { echo "container: $*" >&2; [ ! -s "$work/log" ] || tail -n 40 "$work/log" >&2; exit 1; }
cable() {
	ip link add "$net" type veth peer name eth0 netns "$net" && ip addr add "$outside/30" dev "$net" \
		&& ip link set "$net" up && ip -n "$net" addr add "$inside/30" dev eth0 \
		&& ip -n "$net" link set eth0 up && ip -n "$net" link set lo up
}
cable || skip "no pair of network devices can be made here"
# What this machine lets run at all, before anything of ours does.
timeout "$COMMAND_S" systemd-nspawn --quiet --register=no --keep-unit --console=pipe --machine="$net" --read-only \
	--directory="$base" --network-namespace-path="/run/netns/$net" --no-new-privileges=yes \
	--tmpfs=/tmp:mode=1777,size=64m /bin/true </dev/null >"$work/log" 2>&1 \
	|| skip "systemd-nspawn runs nothing here: $(tail -n 1 "$work/log")"

echo "container: building (some minutes when pip has to fetch everything)"
bare() {
	from=$(store from scratch) && tar -C "$base" -c . >"$work/root.tar" \
		&& store add -q "$from" "$work/root.tar" / >/dev/null && rm "$work/root.tar" \
		&& store commit -q "$from" localhost/musecast-base >/dev/null && store rm "$from" >/dev/null
}
store inspect --type image localhost/musecast-base >/dev/null 2>&1 || bare || skip "buildah makes no image here"
made=$(store from localhost/musecast-base) && store run --isolation chroot "$made" /bin/true </dev/null \
	|| skip "buildah runs nothing here"
store rm "$made" >/dev/null
made=""
# This machine's certificates, for a proxy between it and the package index.
certificates=/etc/ssl/certs/ca-certificates.crt
printf '[global]\ntimeout = 180\n' >"$work/pip.conf"
set -- -v "$work/pip.conf:/etc/pip.conf:ro"
if [ -e "$certificates" ]; then
	echo "cert = /etc/host-certificates.crt" >>"$work/pip.conf"
	set -- "$@" -v "$certificates:/etc/host-certificates.crt:ro"
fi
begun=$(date +%s)
unbuilt() { # what the build fetches may be out of reach, or there is no room for it: that is no fault of the image
	[ "$built" != 124 ] || skip "the image is not built within $BUILD_S s"
	! grep -Eq "$OUT_OF_REACH" "$STORE/build.log" || skip "what the image needs cannot be fetched, or has no room"
	fail "the image cannot be built"
}
# HEALTHCHECK is a thing of Docker's format, which is not buildah's own.
store build --format docker --isolation chroot --network host --target cpu \
	--build-arg BASE=localhost/musecast-base "$@" -t musecast:cpu . >"$STORE/build.log" 2>&1 </dev/null \
	|| { built=$?; tail -n 30 "$STORE/build.log" >&2; unbuilt; }
store rmi --prune >/dev/null || true # the one before
made=$(store from musecast:cpu)
root=$(store mount "$made")
echo "container: built in $(($(date +%s) - begun)) s, $(du -sm "$root" | cut -f1) MB"
store inspect --type image musecast:cpu | "$PYTHON" -c '
import json, sys
config = json.load(sys.stdin)["Docker"]["config"]
test = config["Healthcheck"]["Test"]
assert test[0] == "CMD" and config["User"] == "10001:10001", config
for name, lines in {"env": config["Env"], "command": config["Entrypoint"] + config["Cmd"], "check": test[1:]}.items():
    open(f"{sys.argv[1]}/{name}", "w").write("".join(f"{line}\n" for line in lines))
' "$work"
for tool in gcc cc c++ ld pip3; do
	[ ! -e "$root/usr/bin/$tool" ] || fail "$tool is in the image"
done

mkdir "$work/cache" "$work/models"
chown 10001:10001 "$work/cache" "$work/models"
token=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')

# start NAME=VALUE...: what compose.yaml says, by systemd-nspawn
start() {
	while read -r line; do set -- "$@" "$line"; done <"$work/env"
	variables=""
	for one in "$@"; do variables="$variables --setenv=$one"; done
	set --
	while read -r line; do set -- "$@" "$line"; done <"$work/command"
	# shellcheck disable=SC2086 # one word each
	systemd-nspawn --quiet --register=no --keep-unit --console=pipe --machine="$net" --read-only --directory="$root" \
		--network-namespace-path="/run/netns/$net" --user=musecast --chdir=/ --no-new-privileges=yes \
		--tmpfs=/run/musecast:uid=10001,gid=10001,mode=0700,size=1g --tmpfs=/tmp:mode=1777,size=64m \
		--bind="$work/cache:/var/lib/musecast" --bind="$work/models:/models" $variables \
		"$@" </dev/null >"$work/log" 2>&1 &
	nspawn=$!
}
ended() { # S: the exit status in $status, within this time
	tries=$(($1 * 5))
	while kill -0 "$nspawn" 2>/dev/null; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || fail "still there after $1 s"
		sleep 0.2
	done
	status=0
	wait "$nspawn" || status=$?
	nspawn=""
}
first() { # the container's process 1
	for process in $(ps -o pid= --ppid "$nspawn"); do
		! grep -Eq '^NSpid:.*[[:space:]]1$' "/proc/$process/status" 2>/dev/null || echo "$process"
	done
}
ask() { # PATH [BODY]: as a service on another machine does
	curl -sS --fail-with-body --noproxy '*' --max-time "$COMMAND_S" --resolve "musecast:28888:$inside" \
		-H "Authorization: Bearer ${3-$token}" ${2:+-H content-type:application/json -d "$2"} "http://musecast:28888$1"
}
check() { # HEALTHCHECK's own command, as an engine runs it
	set --
	while read -r line; do set -- "$@" "$line"; done <"$work/check"
	nsenter -t "$(first)" -m -u -i -n -p -- setpriv --reuid 10001 --regid 10001 --clear-groups \
		env -i "$(head -n 1 "$work/env")" "$@" >/dev/null 2>&1
}
healthy() {
	begun=$(date +%s)
	until ask /health >/dev/null 2>&1 && check; do
		kill -0 "$nspawn" 2>/dev/null || { ended 1; fail "ended with $status before it was healthy"; }
		[ $(($(date +%s) - begun)) -lt $UNTIL_HEALTHY_S ] || fail "not healthy after $UNTIL_HEALTHY_S s"
		sleep 0.2
	done
	echo "container: healthy after $(($(date +%s) - begun)) s"
}
stop() {
	begun=$(date +%s)
	kill -TERM "$(first)"
	ended $UNTIL_ENDED_S
	[ "$status" = 0 ] || fail "SIGTERM: ended with $status"
	echo "container: SIGTERM ended it in $(($(date +%s) - begun)) s"
}

for wrong in SEGMENT_DURATION=9 SKIP_FRAMES=3 STREAMING_MODE=online; do
	start "MUSECAST_GATEWAY__TOKEN=$token" "$wrong"
	ended $COMMAND_S
	[ "$status" = 78 ] && grep -q "STREAMING_MODE" "$work/log" || fail "$wrong: ended with $status"
done
start SKIP_FRAMES=1
ended $COMMAND_S
[ "$status" = 78 ] || fail "without a token: ended with $status"

set -- "MUSECAST_GATEWAY__TOKEN=$token" "MUSECAST_GATEWAY__ALLOWED_HOSTS=[musecast]" SEGMENT_DURATION=1.0
start "$@" SKIP_FRAMES=2
healthy
user=$(stat -c %u "/proc/$(first)")
[ "$user" = 10001 ] || fail "it runs as $user"
! ask /api/status '' wrong >/dev/null 2>&1 || fail "a wrong token was let in"
ask /api/status | grep -q '"max_segment_ms":960\b' || fail "SEGMENT_DURATION=1.0: $(ask /api/status)"
curl -sS --fail-with-body --noproxy '*' --max-time "$UNTIL_HEALTHY_S" --resolve "musecast:28888:$inside" -o /dev/null \
	-H "Authorization: Bearer $token" -F template_id=kept -F "file=@$PHOTO" http://musecast:28888/api/preprocess_template \
	|| fail "no template can be made"
ask /api/start_session '{"session_id": "outside", "template_id": "kept"}' >/dev/null || fail "no session can be started"
said=$(ask /api/say '{"session_id": "outside", "text": "Hello from outside.", "wait": true}') || fail "say: $said"
echo "container: say: $said"
stop
start "$@" STREAMING_MODE=offline
healthy
ask /api/templates | grep -q '"template_id":"kept"' || fail "the template has not survived: $(ask /api/templates)"
ask /api/start_session '{"session_id": "fast", "template_id": "kept"}' >/dev/null || fail "no session can be started"
ask /api/status | grep -q '"mode":"offline"' || fail "STREAMING_MODE=offline: $(ask /api/status)"
stop
