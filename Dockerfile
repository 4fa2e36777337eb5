# afrd, afrctl and the emulated cluster, on Debian 12.
#
#   docker build -t afr .
#   docker run --rm --privileged --network host -v /dev/hugepages:/dev/hugepages -v /etc/afr:/etc/afr afr
#
# Privileged, because DPDK maps devices and huge pages; the host's network, because its ports are the host's.

FROM rust:1-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends libdpdk-dev libclang-dev clang libpcap-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --workspace

FROM debian:12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends dpdk librte-meta-all librte-meta-net iproute2 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/afrd /src/target/release/afrctl /src/target/release/afr-emulator \
    /src/target/release/afr-load /usr/local/bin/
COPY configs/afrd.toml /etc/afr/afrd.toml
EXPOSE 9472
ENTRYPOINT ["/usr/local/bin/afrd"]
CMD ["--config", "/etc/afr/afrd.toml"]
