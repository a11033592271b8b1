# Headwater in a small image. The tests do not need it; see README.md.
FROM rust:1-slim-bookworm AS build
# the allocator is built with make, which the slim image lacks
RUN apt-get update \
 && apt-get install -y --no-install-recommends make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/target \
    CARGO_TARGET_DIR=/target cargo build --release --locked -p headwater \
 && cp /target/release/headwater /usr/local/bin/headwater

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 headwater \
 && install -d -o headwater /data
COPY --from=build /usr/local/bin/headwater /usr/local/bin/headwater
USER headwater
WORKDIR /pipelines
ENTRYPOINT ["headwater"]
CMD ["--help"]
