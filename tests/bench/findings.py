#!/usr/bin/env python3
"""Measures what it costs that the daemon watches the findings of `dsr-setup doctor`: docs/dsr-doctor.md.

    sudo unshare --net tests/bench/findings.py PROGRAM VIPS SECONDS

PROGRAM is announcer as it is installed. It runs in the namespace of this process with so many VIPs, a service and a check each, every
second, beside a server that accepts. It looks for findings 2 s after its start, and then every 10 s. So the processor time of the daemon is
read every 5 s: a window with a look and one without take turns, in the same process. A look that is late by more than 2 s would be in the
wrong window, so that SECONDS should not be more than 300.
"""

import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

program, vips, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

for line in (
    "link set lo up",
    "link add v0 type veth peer name v1",
    "link set v0 up",
    "link set v1 up",
    "address add 10.0.0.1/24 dev v0",
    "route add default via 10.0.0.2",
):
    subprocess.run(["ip", *line.split()], check=True)
for setting, value in (("arp_ignore", "1"), ("arp_announce", "2")):
    pathlib.Path("/proc/sys/net/ipv4/conf/all", setting).write_text(value)

folder = pathlib.Path(tempfile.mkdtemp())
text = '[bgp]\nasn = 65001\nrouter_id = "10.0.0.1"\n[[peer]]\nname = "r1"\naddress = "10.0.0.2"\nasn = 65000\n'
for number in range(vips):
    vip = f"198.18.{number // 250}.{number % 250 + 1}"
    text += f'[[service]]\nname = "s{number}"\nvips = ["{vip}"]\n[[service.check]]\ntcp = 80\ninterval = "1s"\n'
(folder / "announcer.toml").write_text(text)

server = socket.create_server(("0.0.0.0", 80), backlog=4096)


def serve():
    while True:
        server.accept()[0].close()


threading.Thread(target=serve, daemon=True).start()
run = [program, "--socket", folder / "socket", "--state-dir", folder, "run", "--config", folder / "announcer.toml"]
with open(folder / "log", "w") as log:
    daemon = subprocess.Popen(run, stdout=log, stderr=subprocess.STDOUT)
begun = time.monotonic()
clock = (~daemon.pid << 3) | 2  # CPUCLOCK_SCHED of the process, with its threads that have ended


def wait(until):
    while (left := begun + until - time.monotonic()) > 0:
        time.sleep(left)
    return time.clock_gettime(clock) * 1000


# The first look that counts is 32 s after the start. Until 29.5 s, the VIPs are put on lo, and the checks begin.
windows = []
end = 29.5
before = wait(end)
while end + 10 <= seconds:
    pair = []
    for _ in range(2):
        end += 5
        now = wait(end)
        pair.append(now - before)
        before = now
    windows.append(pair)
daemon.terminate()
if daemon.wait() != 0:
    sys.exit((folder / "log").read_text())

for name, all in (("with a look", [pair[0] for pair in windows]), ("without", [pair[1] for pair in windows])):
    print(f"{name}: {statistics.median(all):.1f} ms in 5 s ({min(all):.1f} to {max(all):.1f})")
look = statistics.median(pair[0] - pair[1] for pair in windows)
print(f"{vips} VIPs: a look costs {look:.2f} ms, the median of {len(windows)} turns: {look / 100:.3f} % of a core")
