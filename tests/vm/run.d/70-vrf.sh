# A frontend whose router, VIPs and server are in the VRF `edge`, with FRR: sessions over IPv4 with TCP MD5 and over IPv6, both with BFD;
# the VIPs on the device of the VRF; what is outside of the VRF neither answers a check nor gets a packet of a session; what
# doctor finds; an upgrade in place; a reload that adds and removes a service; and the lock between the daemon and dsr-setup watch.
#
#   client ── eth1 router eth0 ── eth1 frontend; eth1 of the frontend and both of the router are in a VRF `edge`, and the VIPs are on edge
. /vm/lib/functions.sh
set -x
modprobe -a dummy vrf
bin=/vm/project/target/lab/bin
router() { ip netns exec router "$@"; }
client() { ip netns exec client "$@"; }
in_vrf() { frontend ip vrf exec edge "$@"; }
vips='192.0.2.80 2001:db8::80'

two_hosts router
frontend ip link set eth0 down
frontend ip link set eth0 name eth1
frontend ip link add edge type vrf table 10
frontend ip link set edge up
frontend ip link set eth1 master edge
frontend ip link set eth1 up
frontend ip address replace 10.0.0.2/24 dev eth1
frontend ip address replace 2001:db8:1::2/64 dev eth1 nodad
frontend ip route replace default via 10.0.0.1 vrf edge
frontend ip -6 route replace default via 2001:db8:1::1 vrf edge
ip netns add client
ip link add eth1 netns router type veth peer name eth0 netns client
for host in router client; do ip netns exec $host ip link set lo up; done
router ip link set eth1 up
client ip link set eth0 up
router ip address add 10.9.0.1/24 dev eth1
router ip address add 2001:db8:9::1/64 dev eth1 nodad
client ip address add 10.9.0.2/24 dev eth0
client ip address add 2001:db8:9::2/64 dev eth0 nodad
client ip route add default via 10.9.0.1
client ip -6 route add default via 2001:db8:9::1
# The router has its side in a VRF too; the kernel removes the IPv6 addresses of new ports.
router ip link add edge type vrf table 20
router ip link set edge up
router ip link set eth0 master edge
router ip link set eth1 master edge
router ip address replace 2001:db8:1::1/64 dev eth0 nodad
router ip address replace 2001:db8:9::1/64 dev eth1 nodad
router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1

# The rule of the VRF comes before that of the table `local`, as the kernel's documentation of VRFs advises: otherwise an address of this
# host outside of the VRF hides the same address in it.
for family in -4 -6; do
	frontend ip $family rule add pref 32765 table local
	frontend ip $family rule delete pref 0
done

# Outside of the VRF, this host itself has the router's addresses and the VIPs, and a server answers there on the ports of HTTP and BGP.
frontend ip link add d0 type dummy
frontend ip link set d0 up
frontend ip address add 10.0.0.1/24 dev d0
frontend ip address add 2001:db8:1::1/64 dev d0 nodad
frontend ip address add 192.0.2.80/32 dev lo
frontend ip address add 2001:db8::80/128 dev lo
site() { # NAME [LISTEN…]: writes a configuration of nginx with this answer, also on what is named in nginx's words
	name=$1
	shift
	cat >/tmp/nginx-"$name".conf <<NGINX
pid /tmp/nginx-$name.pid;
error_log /tmp/nginx-$name.log;
worker_processes 1;
events {}
http { access_log off; server { listen 80; listen [::]:80 ipv6only=on; $* return 200 "$name\n"; } }
NGINX
}
site outside 'listen 179; listen [::]:179 ipv6only=on;'
site inside
frontend nginx -c /tmp/nginx-outside.conf
start_inside() { in_vrf nginx -c /tmp/nginx-inside.conf; }
stop_inside() {
	in_vrf nginx -c /tmp/nginx-inside.conf -s stop
	waited [ ! -e /tmp/nginx-inside.pid ]
}
start_inside
[ "$(frontend curl --silent http://192.0.2.80/)" = outside ]
# The connections of BGP and the packets of BFD that come to the router's addresses outside of the VRF are counted. Two of each are sent
# here, and none may follow.
frontend nft -f - <<'NFT'
table inet outside {
	chain input {
		type filter hook input priority 0;
		iifname "lo" tcp dport 179 tcp flags & (fin | syn | rst | ack) == syn counter
		iifname "lo" udp dport { 3784, 4784 } counter
	}
}
NFT
for address in 10.0.0.1 '[2001:db8:1::1]'; do [ "$(frontend curl --silent "http://$address:179/")" = outside ]; done
for address in 10.0.0.1 2001:db8:1::1; do frontend bash -c "echo >/dev/udp/$address/3784"; done
none_outside() { # whether nothing of a session came outside of the VRF
	frontend nft list table inet outside | tee /tmp/outside
	[ "$(grep -c 'counter packets 2 ' /tmp/outside)" = 2 ]
}
none_outside

# The router.
mkdir -p /etc/frr/router /run/frr/router
chown -R frr:frr /etc/frr/router /run/frr
cat >/etc/frr/router/frr.conf <<'FRR'
frr defaults datacenter
router bgp 65000 vrf edge
 bgp router-id 10.0.0.1
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 timers bgp 20 60
 neighbor 10.0.0.2 remote-as 65001
 neighbor 10.0.0.2 password edge-secret
 neighbor 10.0.0.2 bfd 10 1000 1000
 neighbor 2001:db8:1::2 remote-as 65001
 neighbor 2001:db8:1::2 bfd 10 1000 1000
 address-family ipv4 unicast
  neighbor 10.0.0.2 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor 2001:db8:1::2 activate
 exit-address-family
FRR
: >/etc/frr/router/vtysh.conf
for daemon in zebra bgpd bfdd; do
	router /usr/lib/frr/$daemon -d -N router --log file:/tmp/frr-$daemon.log
done
vty() { router vtysh -N router "$@"; }
waited vty -c 'show version'
vty -f /etc/frr/router/frr.conf

# The frontend, as the shipped unit runs it.
mkdir -p /tmp/state/drain /tmp/run
printf 'edge-secret\n' >/tmp/state/r1.key
chown -R nobody:nogroup /tmp/state /tmp/run
chmod 600 /tmp/state/r1.key
cat >/tmp/announcer.toml <<'TOML'
[bgp]
asn = 65001
router_id = "10.0.0.2"
settle = "0s"
graceful_restart = "120s"

[[peer]]
name = "r1"
address = "10.0.0.1"
asn = 65000
vrf = "edge"
hold_time = "60s"
password_file = "/tmp/state/r1.key"
families = ["ipv4"]
[peer.bfd]
interval = "1s"
multiplier = 10

[[peer]]
name = "r1-v6"
address = "2001:db8:1::1"
asn = 65000
vrf = "edge"
hold_time = "60s"
families = ["ipv6"]
[peer.bfd]
interval = "1s"
multiplier = 10

[health]
listener_watch = "100ms"

[[service]]
name = "www"
vips = ["192.0.2.80", "2001:db8::80"]
vrf = "edge"
[[service.check]]
http = "http://www.example.com/"
expect_body = "inside"
interval = "3s"
timeout = "10s"
[[service.check]]
tcp = 80
interval = "3s"
timeout = "10s"
TOML
cp $bin/announcer /tmp/announcer
capabilities=-all,+net_admin,+sys_nice
unprivileged() {
	frontend setpriv --reuid nobody --regid nogroup --clear-groups --no-new-privs --bounding-set $capabilities \
		--inh-caps $capabilities --ambient-caps +net_admin,+sys_nice "$@"
}
unprivileged /tmp/announcer validate /tmp/announcer.toml
announcer() { frontend /tmp/announcer "$@"; } # as root: a process of the daemon's own user may not ask it
start_daemon() {
	unprivileged /tmp/announcer run --log info --config /tmp/announcer.toml --socket /tmp/run/socket --state-dir /tmp/state >>/tmp/announcer.log 2>&1 &
}
start_daemon
explain() {
	cat /tmp/announcer.log
	announcer status --all --socket /tmp/run/socket || :
	vty -c 'show bgp vrf edge summary' -c 'show bfd vrf edge peers brief' -c 'show bgp vrf edge ipv4 unicast' -c 'show bgp vrf edge ipv6 unicast'
	tail -n 20 /tmp/frr-*.log
	cat /tmp/watch.log || :
	frontend ip address show
	frontend ss -tlnp
}
announced() { # whether the router has both routes
	router ip route show vrf edge 192.0.2.80 | grep -q 'via 10.0.0.2' && router ip -6 route show vrf edge 2001:db8::80 | grep -q 'via 2001:db8:1::2\|via fe80'
}
withdrawn() { # whether the router has none of them
	[ ! "$(router ip route show vrf edge 192.0.2.80)" ] && [ ! "$(router ip -6 route show vrf edge 2001:db8::80)" ]
}
answers() { # whether the client gets the answer of the server in the VRF, from both VIPs
	[ "$(client curl --silent --max-time 20 http://192.0.2.80/)" = inside ] &&
		[ "$(client curl --silent --max-time 20 'http://[2001:db8::80]/')" = inside ]
}
bfd_up() { [ "$(vty -c 'show bfd vrf edge peers brief' | grep -c ' up')" = 2 ]; }
waited announced
waited bfd_up
waited answers

# What it says.
announcer status --all --socket /tmp/run/socket >/tmp/status
cat /tmp/status
[ "$(grep -c 'VRF edge' /tmp/status)" -ge 3 ]
announcer status --json --socket /tmp/run/socket | grep -q '"vrf": "edge"'
announcer explain 192.0.2.80 --socket /tmp/run/socket | tee /tmp/explain
grep -q 'The VIP is on edge' /tmp/explain
announcer check www --config /tmp/announcer.toml | tee /tmp/check
[ "$(grep -c 'HTTP 200' /tmp/check)" = 2 ]
# The VIPs are on the device of the VRF, and those on lo are left alone.
frontend ip address show dev edge | grep -q '192.0.2.80/32'
frontend ip address show dev edge | grep -q '2001:db8::80/128'
frontend ip address show dev lo | grep -q '192.0.2.80/32'
# The sockets of the sessions are bound to the VRF.
frontend ss -Htn state established dport = :179 | tee /tmp/sockets
[ "$(grep -c '%edge:' /tmp/sockets)" = 2 ]
none_outside

# The server in the VRF dies. That outside of the VRF, with the same address and port, goes on.
stop_inside
waited withdrawn
[ "$(frontend curl --silent http://192.0.2.80/)" = outside ]
announcer status --all --socket /tmp/run/socket || :
# The watch of the listeners has seen it, and did not count the server outside.
grep 'nothing listens any more' /tmp/announcer.log
start_inside
waited announced
waited answers

# A VIP that another program removes is put back.
frontend ip address delete 192.0.2.80/32 dev edge
frontend ip address delete 2001:db8::80/128 dev edge
on_edge() { frontend ip address show dev edge | grep -q '192.0.2.80/32' && frontend ip address show dev edge | grep -q '2001:db8::80/128'; }
waited on_edge
waited announced

# dsr-setup puts the VIPs of a configuration on the device of their VRF. It says that they are also on lo, until they are not.
setup() { frontend $bin/dsr-setup --state-dir /tmp/dsr "$@" --config /tmp/announcer.toml; }
[ "$(code_of /tmp/said setup check)" = 1 ]
cat /tmp/said
grep -q '192.0.2.80/32 is also on lo' /tmp/said
frontend ip address delete 192.0.2.80/32 dev lo
frontend ip address delete 2001:db8::80/128 dev lo
setup apply
setup check
setup check --json | grep -q '"device": "edge"'
# doctor finds no error, and says what it does not look for in a VRF.
examined() { code_of /tmp/doctor setup doctor --json; }
no_error() { # whether doctor finds nothing, or warnings
	found=$(examined)
	cat /tmp/doctor
	case $found in
	0 | 3) ;;
	*) return 1 ;;
	esac
}
no_error
if grep '"severity": "error"' /tmp/doctor; then exit 1; fi
grep -q 'the VIPs of edge are in a VRF' /tmp/doctor

# An upgrade in place keeps the sessions, bound as they were.
established() { # how often each of the four sessions came up and went down
	for neighbor in 10.0.0.2 2001:db8:1::2; do
		vty -c "show bgp vrf edge neighbors $neighbor json" | grep -o '"connectionsEstablished":[0-9]*\|"connectionsDropped":[0-9]*\|"lastResetDueTo":[^,]*'
	done
	vty -c 'show bfd vrf edge peers counters json' | grep -o '"session-\(up\|down\)": *[0-9]*' | sort
}
before=$(established)
[ "$(echo "$before" | grep -c '"connectionsEstablished":[1-9]')" = 2 ]
[ "$(echo "$before" | grep -c '"session-up": *[1-9]')" = 2 ]
[ "$(echo "$before" | grep -c '"session-down": *[0-9]')" = 2 ]
pid=$(frontend pidof announcer)
cp /tmp/announcer /tmp/announcer.new
mv /tmp/announcer.new /tmp/announcer
program() { readlink "/proc/$pid/exe"; } # what the daemon executes
[ "$(program)" = '/tmp/announcer (deleted)' ]
announcer upgrade --socket /tmp/run/socket
[ "$(program)" = /tmp/announcer ]
[ "$(frontend pidof announcer)" = "$pid" ]
waited answers
[ "$(established)" = "$before" ]
bfd_up
[ "$(frontend ss -Htn state established dport = :179 | grep -c '%edge:')" = 2 ]
announced
none_outside

# A reload adds a service, and a router whose interface is not in the VRF; another one removes both. Then the VIP leaves the VRF, and the
# others stay.
cp /tmp/announcer.toml /tmp/before.toml
cat >>/tmp/announcer.toml <<'TOML'

[[peer]]
name = "wrong"
address = "10.0.0.9"
asn = 65000
vrf = "edge"
interface = "d0"

[[service]]
name = "more"
vips = ["192.0.2.81"]
vrf = "edge"
[[service.check]]
tcp = 80
interval = "3s"
timeout = "10s"
TOML
announcer reload --socket /tmp/run/socket
has_more() { frontend ip address show dev edge | grep -q '192.0.2.81/32' && [ "$(router ip route show vrf edge 192.0.2.81)" ]; }
waited has_more
[ "$(established)" = "$before" ]
not_in_vrf() { announcer status --all --socket /tmp/run/socket | grep -q 'the interface `d0` is not in the VRF `edge`'; }
waited not_in_vrf
cp /tmp/before.toml /tmp/announcer.toml
announcer status --all --socket /tmp/run/socket | grep '\bwrong\b'
announcer reload --socket /tmp/run/socket
has_no_more() { # whether the VIP has left the VRF and the router, and the peer has ended
	frontend ip address show dev edge >/tmp/edge && ! grep '192.0.2.81/32' /tmp/edge &&
		[ ! "$(router ip route show vrf edge 192.0.2.81)" ] &&
		announcer status --all --socket /tmp/run/socket >/tmp/status && grep -q '\br1-v6\b' /tmp/status && ! grep '\bwrong\b' /tmp/status
}
waited has_no_more
on_edge
announced
[ "$(established)" = "$before" ]
none_outside

# Without the VRF, the session and the checks say so.
sed 's/vrf = "edge"/vrf = "nosuch"/' /tmp/announcer.toml >/tmp/nosuch.toml
[ "$(code_of /tmp/said announcer check www --config /tmp/nosuch.toml)" = 1 ]
cat /tmp/said
grep -q 'the VRF `nosuch` does not exist' /tmp/said

# doctor does not count a server outside of the VRF.
stop_inside
waited withdrawn
[ "$(examined)" = 1 ]
cat /tmp/doctor
grep -q '"code": "server-not-listening"' /tmp/doctor
grep -q 'nothing listens at port 80 in the VRF edge' /tmp/doctor

# A server outside of each VRF serves in the VRF too, if the host says so.
frontend sysctl -qw net.ipv4.tcp_l3mdev_accept=1
no_error
frontend nginx -c /tmp/nginx-outside.conf -s stop
site inside
start_outside() { frontend nginx -c /tmp/nginx-inside.conf; }
waited start_outside
waited announced
waited answers

# While the daemon holds the lock of edge, dsr-setup watch leaves its VIPs alone.
watch() { # starts it; `watch` is its process
	ip netns exec frontend $bin/dsr-setup --state-dir /tmp/dsr watch --config /tmp/announcer.toml >/tmp/watch.log 2>&1 &
	watch=$!
}
remove_vip() { frontend ip address delete 192.0.2.80/32 dev edge; }
was_repaired='192.0.2.80/32 was not on edge: repaired'
watch
waited grep 'announcer.* keeps the VIPs on edge: only the settings are repaired' /tmp/watch.log
remove_vip
waited on_edge
[ "$(code grep "$was_repaired" /tmp/watch.log)" = 1 ]
# The daemon is killed: the watch holds the lock, and puts a VIP back, until a daemon wants the lock.
kill -KILL "$(frontend pidof announcer)"
waited grep 'has ended, and was not stopped' /tmp/watch.log
waited grep 'keeps 2 VIPs on edge' /tmp/watch.log
remove_vip
waited on_edge
waited grep "$was_repaired" /tmp/watch.log
start_daemon
established_again() { # whether the new daemon has both sessions, and not only the routes of the former one
	frontend ss -Htnp state established dport = :179 >/tmp/sockets
	[ "$(grep -c "%edge:.*pid=$(frontend pidof announcer)," /tmp/sockets)" = 2 ] && announced && bfd_up
}
taken_again() { [ "$(grep -c 'announcer.* keeps the VIPs on edge: only the settings are repaired' /tmp/watch.log)" = 2 ]; }
waited taken_again
waited established_again
waited answers
remove_vip
waited on_edge
[ "$(grep -c "$was_repaired" /tmp/watch.log)" = 1 ]
none_outside

kill "$(cat /tmp/nginx-inside.pid)"
waited withdrawn
kill -- "$(frontend pidof announcer)"
ended() { ! frontend pidof announcer; }
waited ended
waited grep 'was stopped; what it has removed is not put back' /tmp/watch.log
kill $watch
wait $watch
none_outside

# `dsr-setup watch` puts the VIPs on a VRF that was made again, on one that only a reload names, and on one that is made later.
watch
waited grep 'keeps 2 VIPs on edge' /tmp/watch.log
frontend ip link delete edge
waited grep 'VRF `edge` does not exist' /tmp/watch.log
frontend ip link add edge type vrf table 10
frontend ip link set edge up
waited on_edge
grep 'edge was made again' /tmp/watch.log
cat >>/tmp/announcer.toml <<'TOML'

[[service]]
name = "late"
vips = ["192.0.2.82"]
vrf = "late"
[[service.check]]
tcp = 80
TOML
[ "$(code grep late /tmp/watch.log)" = 1 ]
kill -HUP $watch
waited grep 'VRF `late` does not exist' /tmp/watch.log
frontend ip link add late type vrf table 30
on_late() { frontend ip address show dev late | grep -q '192.0.2.82/32'; }
waited on_late
grep 'keeps 1 VIP on late' /tmp/watch.log
on_edge
kill $watch
wait $watch
frontend ip link delete edge
watch
waited grep 'VRF `edge` does not exist' /tmp/watch.log
frontend ip link add edge type vrf table 10
waited on_edge
kill $watch
wait $watch
vty -c 'show bgp vrf edge summary'
ip netns pids router | xargs -r kill
ip netns delete client
no_hosts router
