# The program in a small image: built in one stage, run in another as a user without rights. docs/operate/runbook.md says how to run it.
FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake g++ libclang-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked -p llm-router-cli \
    && cp target/dist/llm-router /llm-router

FROM debian:bookworm-slim
# Certificates are compiled in, and no home is needed: nothing else has to be here.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libstdc++6 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /llm-router /usr/local/bin/llm-router
# Any number will do; this one has no name and owns nothing.
USER 65532:65532
# Where a configuration is mounted. Without client keys in it, the address below is refused.
ENV IPFS_LLM_ROUTER_CONFIG=/etc/ipfs-llm-router/config.toml
EXPOSE 8000
STOPSIGNAL SIGTERM
# The shell asks for itself: there is no curl in the image.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8000 && printf 'GET /healthz HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n' >&3 && IFS= read -r line <&3 && [[ $line == *' 200 '* ]]"]
ENTRYPOINT ["llm-router"]
CMD ["serve", "--host", "0.0.0.0"]
