# `dsr-setup --device` on a dummy and on a VRF, with real packets: what `check` says, what `apply` changes, what `watch` repairs, and that
# `remove` restores every value exactly.
. /vm/lib/functions.sh
set -x
modprobe -a dummy vrf
setup() { # ARG…
	frontend /vm/project/target/lab/bin/dsr-setup --state-dir /tmp/state "$@"
}
vips='192.0.2.80 2001:db8::80'

# `client` reaches the VIPs by the address of `frontend`, as by a router.
client() { ip netns exec client "$@"; }
two_hosts client
client ip route add 192.0.2.80 via 10.0.0.2
client ip route add 2001:db8::80 via 2001:db8:1::2
frontend ip link add vip0 type dummy
frontend ip link set vip0 up
frontend ip link add red type vrf table 100
frontend ip link set red up
# A server without an address serves in every VRF.
frontend sysctl -qw net.ipv4.tcp_l3mdev_accept=1
serve

answers() { # whether both VIPs answer
	client curl --silent --show-error --max-time 20 --output /dev/null http://192.0.2.80/ &&
		client curl --silent --show-error --max-time 20 --output /dev/null 'http://[2001:db8::80]/'
}
arp_answers() { # whether this host answers an ARP request for the VIP
	client ip neighbour flush dev eth0
	client ip route replace 192.0.2.80 dev eth0
	client curl --silent --max-time 10 --output /dev/null http://192.0.2.80/ || :
	client ip route replace 192.0.2.80 via 10.0.0.2
	client ip neighbour show 192.0.2.80 dev eth0 | grep lladdr
}

try() { # DEVICE
	before=$(state)
	[ "$(code setup plan --device "$1" $vips)" = 1 ]
	[ "$(code_of /tmp/check setup check --device "$1" $vips)" = 1 ]
	grep -q "^192.0.2.80/32 is not on $1$" /tmp/check
	grep -q "^2001:db8::80/128 is not on $1$" /tmp/check
	[ "$(code answers)" != 0 ]

	setup apply --device "$1" $vips >/tmp/apply
	cat /tmp/apply
	grep -q "^add 192.0.2.80/32 to $1$" /tmp/apply
	[ -z "$(setup apply --device "$1" $vips)" ]
	setup check --device "$1" $vips
	answers
	[ "$(code arp_answers)" != 0 ]
	# Not on lo, and named there.
	[ "$(code setup check $vips)" = 1 ]
	# `doctor` finds them where they belong, and names them for another device.
	setup doctor --device "$1" $vips >/tmp/doctor || :
	cat /tmp/doctor
	if grep 'code: vip-\|code: lo-down' /tmp/doctor; then
		return 1
	fi
	other=vip0
	[ "$1" = red ] || other=red
	setup doctor --device $other $vips >/tmp/doctor || :
	grep -q "^error: 192.0.2.80/32 is on $1, and not on $other$" /tmp/doctor
	grep -q "dsr-setup apply --vip 192.0.2.80 --device $other" /tmp/doctor

	# `check` names what has drifted, and `apply` repairs it.
	frontend ip address delete 192.0.2.80/32 dev "$1"
	frontend ip address delete 2001:db8::80/128 dev "$1"
	frontend sysctl -qw net.ipv4.conf.all.arp_ignore=0
	[ "$(code_of /tmp/check setup check --device "$1" $vips)" = 1 ]
	cat /tmp/check
	[ "$(wc -l </tmp/check)" = 3 ]
	setup apply --device "$1" $vips
	setup check --device "$1" $vips
	answers

	# `watch` repairs it by itself.
	setup watch --device "$1" $vips 2>/tmp/watch &
	watch=$!
	waited grep -q "keeps 2 VIPs on $1" /tmp/watch
	frontend ip address delete 192.0.2.80/32 dev "$1"
	frontend ip link set "$1" down
	waited setup check --device "$1" $vips
	answers
	# `remove` is refused while it keeps them.
	[ "$(code setup remove --device "$1" --socket /nonexistent)" = 1 ]
	kill "$(frontend pidof dsr-setup)"
	wait $watch
	cat /tmp/watch

	setup remove --device "$1" --socket /nonexistent
	[ "$(state)" = "$before" ]
	[ -z "$(setup remove --device "$1" --socket /nonexistent)" ]
}

# With the kernel's defaults, this host answers ARP for a VIP on the dummy. `try` shows that it does not after `apply`.
frontend ip address add 192.0.2.80/32 dev vip0
arp_answers
frontend ip address delete 192.0.2.80/32 dev vip0

for strict in 0 1; do
	# Values of the host's own, and those of an interface that answers whatever `all` is.
	frontend sysctl -qw net.ipv4.conf.all.arp_announce=$strict net.ipv4.conf.eth0.arp_ignore=$((strict * 3)) \
		net.ipv4.conf.eth0.rp_filter=$strict
	try vip0
done

# In a VRF, packets arrive by its port. Requests of this host itself need accept_local there.
frontend ip link set eth0 master red
frontend ip address replace 2001:db8:1::2/64 dev eth0 nodad # the kernel removes IPv6 addresses from a new port
try red
grep -q '^set net.ipv4.conf.eth0.accept_local = 1 (was 0)$' /tmp/apply

# What cannot have VIPs is named.
[ "$(code_of /tmp/said setup check --device eth0 $vips)" = 2 ]
cat /tmp/said
grep -q 'eth0. is no loopback, no dummy and no VRF' /tmp/said
[ "$(code_of /tmp/said setup check --device vip1 $vips)" = 2 ]
grep -q 'this host has no interface .vip1' /tmp/said
no_hosts client
