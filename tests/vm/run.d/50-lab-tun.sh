# The topology `tun`: a director puts the packets into tunnels to frontends that `dsr-setup` alone has prepared. Requests are answered,
# the director sees nothing on the way back, a frontend that dies is out, and the fallback answers when all are dead.
topology=tun
. /vm/lib/functions.sh
set -x
modprobe -a ipip ip6_tunnel
start-lab $topology
explain() {
	in_node director cat /var/log/director.log
}
served_by_both() { # WORDS
	served_by http://192.0.2.80/ "$1" && served_by 'http://[2001:db8::80]/' "$1"
}

in_node director timeout 600 tcpdump -c 1000 -nlqi eth1 '(src host 192.0.2.80 or src host 2001:db8::80) or ip proto 4 or ip6 proto 41' >/tmp/tun.seen 2>/tmp/tun.said &
waited grep -q 'listening on' /tmp/tun.said
served_by_both 'fe1 fe2 fe3'
sleep 3
grep -c . /tmp/tun.seen
grep -q '10.100.0.5 > 10.100.0.1[123]: IP 10.9.0.1' /tmp/tun.seen
grep -q '2001:db8:100::5 > 2001:db8:100::1[123]: IP6 2001:db8:9::1' /tmp/tun.seen
if grep -E '^[0-9:.]+ IP6? (192\.0\.2\.80|2001:db8::80)' /tmp/tun.seen; then
	echo 'the director saw an answer'
	exit 1
fi
# What clients send fits into the tunnel.
in_node client curl --silent --max-time 60 --output /dev/null http://192.0.2.80/large
# `dsr-setup` gives `nft` 10 s, which may be too little while the lab starts. Then it has warned, and the next `apply` limits the MSS.
in_node fe1 dsr-setup apply --tunnel ipip --tunnel ip6ip6
in_node fe1 dsr-setup check --tunnel ipip --tunnel ip6ip6

in_node fe1 /lab/web kill
waited served_by_both 'fe2 fe3'
in_node fe2 /lab/web kill
in_node fe3 /lab/web kill
waited served_by_both sorry
$lab down --name $topology
