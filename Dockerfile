# Weir's image: the runtime (`weir`) and the Kubernetes operator (`weir-operator`), for a non-root user and a read-only root.
#
#   docker build -t weir:0.1.0 .
#
# The tests build the stage `runtime` from this file too, with the stage `build` replaced by a folder of binaries that are
# already there (tests/servers/image).
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends libclang-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /weir
COPY . .
RUN BINDGEN_EXTRA_CLANG_ARGS=-I$(gcc -print-file-name=include) \
    cargo build --release --locked -p weir -p weir-operator --bin weir --bin weir-operator \
    && mkdir /out \
    && for binary in weir weir-operator; do \
         objcopy --strip-debug "target/release/$binary" "/out/$binary"; \
       done

FROM debian:bookworm-slim AS runtime
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
    && echo 'weir:x:65532:65532:weir:/nonexistent:/usr/sbin/nologin' >>/etc/passwd \
    && echo 'weir:x:65532:' >>/etc/group
COPY --from=build --chmod=755 /out/ /usr/local/bin/
USER 65532:65532
WORKDIR /
LABEL org.opencontainers.image.title=weir org.opencontainers.image.licenses=Apache-2.0
