# `dsr-setup --tunnel` with real packets, for each kind of tunnel: after `apply` a host that tunnels reaches the VIP, with a strict
# rp_filter before; `check` names what has drifted, `watch` repairs it, and `remove` restores everything.
. /vm/lib/functions.sh
set -x
setup=/vm/project/target/lab/bin/dsr-setup
modprobe -a dummy ipip sit ip6_tunnel ip_gre

# `director` tunnels, and `frontend` answers over the link, without a tunnel.
director() { ip netns exec director "$@"; }
two_hosts director
serve
frontend curl --silent --show-error --max-time 20 http://10.0.0.2/ # it serves, and what fails before apply is the tunnel

answers() { # URL
	director curl --silent --show-error --max-time 10 --output /dev/null "$1/"
}

tunnel() { # LINK…
	director ip link add tunnel type "$@"
	director ip link set tunnel up
	director ip route add "$vip" dev tunnel
}

check() {
	frontend $setup check --tunnel "$kind" --vip "$vip"
}
says() { # LINE: whether `check` has drift to report, and one of its lines begins so
	! check >/tmp/check && grep "^$1" /tmp/check
}

drift() { # what another program changes is named by `check`, and repaired by `watch`
	check
	frontend ip link set "$device" down
	says "$device is down"
	frontend nft delete table inet dsr-setup
	says "the MSS is not limited ($vip to ${mss#mss })"
	case $kind in
	ipip | gre)
		frontend sysctl -qw "net.ipv4.conf.$device.rp_filter=1"
		says "net.ipv4.conf.$device.rp_filter is 1"
		;;
	ip6ip6)
		frontend ip -6 tunnel change ip6tnl0 mode ipip6
		says 'ip6tnl0 has a mode for packets of the IP protocol 4 alone'
		;;
	esac
	frontend $setup watch --tunnel "$kind" --vip "$vip" 2>/tmp/watch &
	watch=$!
	if [ "$kind" = ip6ip6 ]; then
		# The mode is not changed here, and the command that `check` names corrects it.
		waited grep -q '^warning: ip6tnl0 has a mode' /tmp/watch
		frontend ip -6 tunnel change ip6tnl0 mode ip6ip6
	fi
	waited check
	answers "$url"
	kill "$(pidof dsr-setup)"
	wait $watch
	cat /tmp/watch
	grep -q "^$device was down, so that no packet of a director comes out: repaired$" /tmp/watch
}

try() { # KIND DEVICE VIP URL LINK…: the link is that of the director, from its own address to the frontend's
	kind=$1 device=$2 vip=$3 url=$4
	shift 4
	for strict in 0 1; do
		# The device gets the default when it is made, and it may be there already.
		frontend sh -c "for f in all default $device; do [ ! -e /proc/sys/net/ipv4/conf/\$f ] || echo $strict >/proc/sys/net/ipv4/conf/\$f/rp_filter; done"
		frontend sysctl -qw "net.ipv4.conf.all.rp_filter=0"
		before=$(state)
		tunnel "$@"
		if answers "$url"; then
			echo "$kind: $vip answers before apply"
			return 1
		fi
		frontend $setup apply --tunnel "$kind" --vip "$vip"
		frontend $setup plan --tunnel "$kind" --vip "$vip"
		director ip link delete tunnel # a new one: the kernel does not use a tunnel for 30 s after an ICMP error
		tunnel "$@"
		answers "$url"
		# The frontend says what fits into the tunnel, and answers without one.
		director timeout 30 tcpdump -c 1 -nvi eth0 "host $vip" >/tmp/answer 2>/dev/null &
		capture=$!
		sleep 6
		answers "$url"
		wait $capture
		cat /tmp/answer
		grep -q "$mss" /tmp/answer
		[ $strict = 0 ] || drift
		frontend $setup remove --socket /nonexistent
		[ "$(state)" = "$before" ]
		director ip link delete tunnel
	done
}
frontend ip link set lo up
mss='mss 1440' try ipip tunl0 192.0.2.80 http://192.0.2.80 ipip local 10.0.0.1 remote 10.0.0.2
mss='mss 1420' try sit sit0 2001:db8::80 'http://[2001:db8::80]' sit local 10.0.0.1 remote 10.0.0.2
mss='mss 1400' try ip6ip6 ip6tnl0 2001:db8::80 'http://[2001:db8::80]' ip6tnl mode ip6ip6 local 2001:db8:1::1 remote 2001:db8:1::2 encaplimit none
mss='mss 1436' try gre gre0 192.0.2.80 http://192.0.2.80 gre local 10.0.0.1 remote 10.0.0.2
mss='mss 1416' try gre gre0 2001:db8::80 'http://[2001:db8::80]' gre local 10.0.0.1 remote 10.0.0.2
no_hosts director
