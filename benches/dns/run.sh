#!/bin/sh
# How many questions a second the name server answers on loopback, by Debian's dnsperf: half of them
# for records of the zone itself, half for labels that the store is asked about once a second each.
#
#   cargo build --release && benches/dns/run.sh [questions a second] [seconds]
set -eu
cd "$(dirname "$0")/../.."

rate=${1:-10000} seconds=${2:-10} port=${PORT:-5399}
program=${PROGRAM:-target/release/nameplate}
command -v dnsperf >/dev/null || { echo "run.sh: dnsperf is missing: apt-get install dnsperf" >&2; exit 1; }
[ -x "$program" ] || { echo "run.sh: $program is missing: cargo build --release, or set PROGRAM" >&2; exit 1; }

folder=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid"; wait; rm -rf "$folder"' EXIT INT TERM
cat >"$folder/nameplate.toml" <<END
data_dir = "data"
[listen]
http = []
https = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
[dns_server]
listen = ["127.0.0.1:$port"]
zone = "acme.plat.test"
name_servers = ["ns1.acme.plat.test", "ns.plat.test"]
addresses = ["192.0.2.7"]
queries_per_client = "4000000000/1s"
END
# 500 labels of 32 letters, the same each time.
awk 'BEGIN {
    srand(1); letters = "abcdefghijklmnopqrstuvwxyz234567"
    for (n = 0; n < 500; n++) {
        label = ""
        for (at = 0; at < 32; at++) label = label substr(letters, int(rand() * 32) + 1, 1)
        print label ".acme.plat.test TXT"
        print (n % 3 == 0 ? "acme.plat.test SOA" : n % 3 == 1 ? "acme.plat.test NS" : "ns1.acme.plat.test A")
    }
}' >"$folder/questions"

"$program" run --config "$folder/nameplate.toml" 2>"$folder/log" &
pid=$!
until [ -e "$folder/data/listening.json" ]; do
    kill -0 "$pid" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
    sleep 0.1
done
for mode in udp tcp; do
    echo "== $mode"
    dnsperf -m "$mode" -s 127.0.0.1 -p "$port" -d "$folder/questions" -c 8 -e -Q "$rate" -l "$seconds" |
        grep -E 'Queries (sent|completed|lost|per second)|Response codes|Average Latency'
done
