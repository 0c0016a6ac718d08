# `dsr-setup persist --for systemd --tunnel` over a boot: a real systemd, in its own namespaces, boots with the files and with the unit of
# `watch`. The tunnel is there, and `watch` keeps it in its sandbox, as user announcer.
. /vm/lib/functions.sh
set -x
modprobe -a overlay ipip

# What the host has beside the root filesystem of this machine, and without the services of this machine.
layer=/tmp/layer
mkdir -p $layer/usr/local/bin $layer/etc/systemd/system/multi-user.target.wants /tmp/booted
cp /vm/project/target/lab/bin/dsr-setup $layer/usr/local/bin
for unit in docker.service docker.socket containerd.service keepalived.service apparmor.service; do
	ln -s /dev/null $layer/etc/systemd/system/$unit
done
cp /etc/passwd /etc/group $layer/etc
echo 'announcer:x:990:990::/:/usr/sbin/nologin' >>$layer/etc/passwd
echo 'announcer:x:990:' >>$layer/etc/group
sed 's|@BINDIR@|/usr/local/bin|' /vm/project/announcer/packaging/dsr-setup-watch.service.in >$layer/etc/systemd/system/dsr-setup-watch.service
ln -s /etc/systemd/system/dsr-setup-watch.service $layer/etc/systemd/system/multi-user.target.wants
$layer/usr/local/bin/dsr-setup persist --for systemd --install --root $layer --vip 192.0.2.80 --tunnel ipip

mkfifo /tmp/alive
/vm/lib/boot-systemd $layer:/ /tmp/booted </tmp/alive >/tmp/pid &
boot=$!
exec 9>/tmp/alive # the host ends when this is closed
waited test -s /tmp/pid
pid=$(tr -d " " </tmp/pid)
host() { # COMMAND…
	nsenter --all --target "$pid" env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
explain() {
	host systemctl list-jobs --no-pager
	host journalctl --no-pager --lines 60
}
check() {
	host dsr-setup check --vip 192.0.2.80 --tunnel ipip
}
waited host systemctl is-active dsr-setup-persist dsr-setup-watch
waited check
host ip -o link show tunl0 up | grep tunl0
host ip link set tunl0 down
host nft delete table inet dsr-setup
waited check
host journalctl --no-pager --output cat --unit dsr-setup-watch >/tmp/journal
cat /tmp/journal
grep -q '^tunl0 was down, so that no packet of a director comes out: repaired$' /tmp/journal
exec 9>&-
wait $boot || :
