# The kernel can do what the development machine cannot: it has these kinds of interfaces, a queue that loses packets, and IPVS.
set -x
ip netns add modules
inside() { ip netns exec modules "$@"; }
inside ip link add dummy0 type dummy
inside ip link add red type vrf table 10
inside ip link add tunnel type ipip local 192.0.2.1 remote 192.0.2.2
inside ip link add tunnel6 type ip6tnl mode any local 2001:db8::1 remote 2001:db8::2
inside ip link set dummy0 up
inside tc qdisc add dev dummy0 root netem loss 10%
modprobe -a ip_vs ip_vs_rr nft_socket
[ -e /proc/net/ip_vs ]
ip netns delete modules
