# containerlab deploys a lab on a host with AppArmor: the sessions come up, and the VIP answers. Without `apparmor=unconfined` in the
# topology, `lab up` says what to write, and leaves nothing. Skipped without a containerlab program.
containerlab=/vm/bin/containerlab
[ -x $containerlab ] || exit 77
. /vm/lib/functions.sh
set -x
start-docker
make-node-image lab/node
export CLAB_VERSION_CHECK=disable PATH="/vm/bin:$PATH"

# containerlab writes beside the topology, and /vm is read-only.
mkdir /tmp/small
cd /tmp/small
cp -r /vm/project/lab lab
ln -s /vm/project/target/lab/bin bin
cp /vm/small.clab.yml .
# The lab's probes have 100 ms for an answer, which is too little for an emulated processor.
sed 's/"100ms"/"5s"/' lab/nodes/fe1/announcer.toml >announcer.toml

explain() {
	docker exec clab-small-fe1 announcer status || :
	docker exec clab-small-r1 vtysh -c 'show bgp summary' || :
	docker exec clab-small-r1 sh -c 'tail -n 30 /var/log/frr/*.log' || :
}
answers() { # ADDRESS
	[ "$(docker exec clab-small-client curl --silent --max-time 5 "http://$1/")" = fe1 ]
}

containerlab deploy --topo small.clab.yml 2>&1 | tee deploy.log
if grep -qE 'ERRO|FATA' deploy.log; then
	exit 1
fi
# A processor this slow may not have started bgpd yet when FRR gives its daemons the configuration, once.
configured() {
	docker exec clab-small-r1 vtysh -c 'show running-config' | grep -q '^router bgp' && return
	docker exec clab-small-r1 vtysh -b
	return 1
}
waited configured
waited answers 192.0.2.80
waited answers '[2001:db8::80]'
docker exec clab-small-fe1 cat /proc/self/attr/current | grep -q '^unconfined'
docker exec clab-small-fe1 sysctl --values net.ipv4.conf.all.arp_ignore | grep -qx 1
docker exec clab-small-fe1 announcer status
docker exec clab-small-r1 vtysh -c 'show bgp summary'
containerlab destroy --topo small.clab.yml --cleanup
[ -z "$(docker ps --all --quiet)" ]

sed '/security-opts/d' small.clab.yml >confined.clab.yml
if bin/lab up --engine containerlab confined.clab.yml >up.log 2>&1; then
	cat up.log
	exit 1
fi
cat up.log
grep -q 'security-opts: \[apparmor=unconfined\]' up.log
[ -z "$(docker ps --all --quiet)" ]
