# The topology `l2` with what this kernel has in addition: keepalived with IPVS is a second director of the same frontends, and netem
# delays and loses packets on the clients' side. A link of the clients with a small MTU shows that ICMP errors find their frontend.
topology=l2
. /vm/lib/functions.sh
set -x
modprobe -a ip_vs ip_vs_rr sch_netem
start-lab $topology
explain() {
	in_node director sh -c 'cat /var/log/director.log /var/log/keepalived.log; cat /proc/net/ip_vs'
}
served_by http://192.0.2.80/ 'fe1 fe2 fe3'
served_by 'http://[2001:db8::80]/' 'fe1 fe2 fe3'

# keepalived forwards another VIP, as LVS-DR, to the same frontends.
for node in fe1 fe2 fe3; do
	in_node $node dsr-setup apply --vip 192.0.2.81
done
for node in r1 r2; do
	in_node $node ip route replace 192.0.2.81/32 dev eth2
done
{
	printf 'virtual_server 192.0.2.81 80 {\ndelay_loop 2\nlb_algo rr\nlb_kind DR\nprotocol TCP\n'
	for host in 11 12 13; do
		printf 'real_server 10.100.0.%s 80 {\nweight 1\nHTTP_GET {\nurl {\npath /healthz\nstatus_code 200\n}\nconnect_timeout 10\nretry 0\n}\n}\n' $host
	done
	echo '}'
} >/tmp/keepalived.conf
in_node director sh -c 'cat >/etc/keepalived/keepalived.conf' </tmp/keepalived.conf
in_node director ip address add 192.0.2.81/32 dev eth1
in_node director sh -c 'keepalived --dont-fork --log-console --no-syslog --check >/var/log/keepalived.log 2>&1 &'
waited served_by http://192.0.2.81/ 'fe1 fe2 fe3'
served_by http://192.0.2.80/ 'fe1 fe2 fe3'
in_node fe1 /lab/web kill
waited served_by http://192.0.2.81/ 'fe2 fe3'
waited served_by http://192.0.2.80/ 'fe2 fe3'
in_node fe1 /lab/web start
waited served_by http://192.0.2.80/ 'fe1 fe2 fe3'

# Packets that are too large for the client's link: the router's ICMP error goes to the VIP, and the director copies it to each frontend.
for r in 1 2; do
	in_node r$r ip link set eth1 mtu 1300
	in_node r$r tc qdisc add dev eth1 root netem delay 20ms loss 5%
done
for url in http://192.0.2.80/large 'http://[2001:db8::80]/large'; do
	for _ in 1 2 3 4 5 6; do
		in_node client curl --silent --show-error --max-time 120 --output /dev/null "$url"
	done
done
served_by http://192.0.2.80/ 'fe1 fe2 fe3'
in_node fe1 ip route get 10.9.0.1

# `dsr-setup doctor` asks the routers with packets of several sizes. Delay and loss on their answers are no finding. A switch that drops large
# packets and says nothing is one.
doctor() { # writes its findings
	in_node fe1 sh -c 'dsr-setup doctor --json --director 10.100.0.5 --director 2001:db8:100::5 || :' >/tmp/doctor.json
	cat /tmp/doctor.json
	grep -q '"schema"' /tmp/doctor.json
}
for r in 1 2; do
	in_node r$r tc qdisc add dev eth2 root netem delay 20ms loss 5%
done
doctor
if grep mtu-above-path /tmp/doctor.json; then
	echo 'loss and delay are taken for an MTU'
	exit 1
fi
in_node lan ip link set eth1 mtu 1300
in_node lan ip link set eth2 mtu 1300
doctor
grep -q '10.100.0.1 answers packets of [0-9]* octets and none of 1500' /tmp/doctor.json
grep -q '2001:db8:100::1 answers packets of [0-9]* octets and none of 1500' /tmp/doctor.json
$lab down --name $topology
