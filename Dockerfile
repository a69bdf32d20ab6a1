# syntax=docker/dockerfile:1
#
#   docker build -t nameplate .
#   docker run -p 80:80 -p 443:443 -v ./nameplate.toml:/etc/nameplate/nameplate.toml:ro \
#              -v nameplate:/var/lib/nameplate nameplate

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake gcc libc6-dev make perl \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The caches outlive a build, so that the next one compiles only what changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin nameplate \
 && cp target/release/nameplate /nameplate

FROM debian:bookworm-slim
# One step: a layer with the program before setcap would hold it twice. The capability is only to
# bind ports 80 and 443; where all capabilities are dropped, add NET_BIND_SERVICE again.
RUN --mount=type=bind,from=build,source=/nameplate,target=/tmp/nameplate \
    apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libcap2-bin \
 && install -m 0755 /tmp/nameplate /usr/local/bin/nameplate \
 && setcap cap_net_bind_service=+ep /usr/local/bin/nameplate \
 && apt-get purge -y --auto-remove libcap2-bin \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin nameplate \
 && install -d -m 0700 -o nameplate -g nameplate /var/lib/nameplate \
 && install -d -m 0755 /etc/nameplate
USER 10001
WORKDIR /etc/nameplate
VOLUME /var/lib/nameplate
EXPOSE 80 443 9443
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["nameplate", "health"]
ENTRYPOINT ["nameplate"]
CMD ["run"]
