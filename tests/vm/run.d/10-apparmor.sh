# Docker's AppArmor profile denies a container what the nodes of the lab do: to remount /proc/sys, and to write below
# /proc/sys/net. With `apparmor=unconfined` a container may do both. The kernel does not log these denials, because the profile has
# them as `deny` rules: the same command with and without the profile shows that it is the profile.
set -x
[ "$(cat /sys/module/apparmor/parameters/enabled)" = Y ]
start-docker
docker info --format '{{.SecurityOptions}}' | grep -q name=apparmor

run() { # OPTION… COMMAND, in the small container, with the capabilities of a node
	timeout 60 docker run --rm --network none --cap-add NET_ADMIN --cap-add NET_RAW --cap-add SYS_ADMIN "$@"
}
# systempaths=unconfined leaves /proc/sys writable, so that only the profile stands in the way of a write.
writable='--security-opt systempaths=unconfined'
free='--security-opt apparmor=unconfined'
write='echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore'
remount='busybox mount -o remount,rw /proc/sys'

run small busybox cat /proc/self/attr/current | grep -q '^docker-default (enforce)'
if run small $remount; then
	echo 'the profile did not deny the mount'
	exit 1
fi
if run $writable small busybox sh -c "$write"; then
	echo 'the profile did not deny the write'
	exit 1
fi

run $free small busybox cat /proc/self/attr/current | grep -q '^unconfined'
run $free small busybox sh -c "$remount && $write && busybox grep 1 /proc/sys/net/ipv4/conf/all/arp_ignore"
run $free $writable small busybox sh -c "$write"
