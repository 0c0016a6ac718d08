# What several scripts of tests/vm/run.d use. They read it by `. /vm/lib/functions.sh`.

waited() { # COMMAND…: whether it succeeds within ten minutes. If not, it runs `explain`, which a script may define
	read -r began _ </proc/uptime
	until "$@"; do
		read -r now _ </proc/uptime
		if [ $((${now%.*} - ${began%.*})) -ge 600 ]; then
			explain
			return 1
		fi
		sleep 1
	done
}
explain() { :; }

code() { # COMMAND…: its exit code
	"$@" >&2 && echo 0 || echo $?
}
code_of() ( # FILE COMMAND…: its exit code; FILE gets what it writes
	set +x
	file=$1
	shift
	"$@" >"$file" 2>&1 && echo 0 || echo $?
)

# Two hosts and a link: `frontend`, and another one, which has the first address of each network.
frontend() { ip netns exec frontend "$@"; }

two_hosts() { # NAME: makes the network namespaces NAME and `frontend`, and joins them
	ip netns add "$1"
	ip netns add frontend
	ip link add eth0 netns "$1" type veth peer name eth0 netns frontend
	for host in "$1" frontend; do
		ip netns exec "$host" ip link set lo up
		ip netns exec "$host" ip link set eth0 up
	done
	ip netns exec "$1" ip address add 10.0.0.1/24 dev eth0
	ip netns exec "$1" ip address add 2001:db8:1::1/64 dev eth0 nodad
	frontend ip address add 10.0.0.2/24 dev eth0
	frontend ip address add 2001:db8:1::2/64 dev eth0 nodad
}
no_hosts() { # NAME: ends the programs of `frontend`, and removes both
	ip netns pids frontend | xargs -r kill
	ip netns delete "$1"
	ip netns delete frontend
}
serve() { # starts nginx on `frontend`, on every address
	cat >/tmp/nginx.conf <<'NGINX'
pid /tmp/nginx.pid;
events {}
http { server { listen 80; listen [::]:80; return 200 "ok\n"; } }
NGINX
	frontend nginx -c /tmp/nginx.conf
}
state() { # what `dsr-setup remove` has to restore on `frontend`; the kernel gives a device its queue when it is first set up
	frontend sh -c 'ip -o link show; ip -o address show; ip route show table all; ip -6 route show table all
		grep . /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv4/conf/*/arp_* /proc/sys/net/ipv4/conf/*/accept_local; nft list ruleset' |
		sed 's/ qdisc [a-z]* / /; s/expires [0-9]*sec//' | grep -v 'fe80:\|ff00:'
}

# A topology of lab/, whose name is in `topology`: start-lab starts it.
lab=/tmp/cache/bin/lab

in_node() { # NODE COMMAND…
	node=$1
	shift
	$lab exec --name "$topology" "$node" -- "$@"
}
ask() { # COUNT URL: who answers, each once
	in_node client sh -c "for i in \$(seq $1); do curl --silent --show-error --max-time 30 $2 || echo lost; done" | sort -u | tr '\n' ' '
}
served_by() { # URL WORDS: whether just these answer
	[ "$(ask 25 "$1")" = "$2 " ]
}
