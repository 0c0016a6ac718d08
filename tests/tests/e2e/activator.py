# Holds the web server's sockets as systemd does for a socket unit: it listens, starts the server that inherits them when
# the first client comes, and again when one comes after that server has ended.
import os
import select
import socket
import subprocess


def listening(family, host):
    held = socket.socket(family)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    held.bind((host, 80))
    held.listen(4096)
    return held


held = [listening(socket.AF_INET, "0.0.0.0"), listening(socket.AF_INET6, "::")]
numbers = [socket.fileno() for socket in held]
inherited = "".join(f"{number};" for number in numbers)  # nginx takes them by this variable
while True:
    select.select(held, [], [])
    subprocess.run(["/usr/sbin/nginx", "-g", "daemon off;"], env={**os.environ, "NGINX": inherited}, pass_fds=numbers)
