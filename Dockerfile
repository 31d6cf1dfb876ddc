# musecast in a container. Two targets:
#   cpu   embedded engines, no torch             docker build --target cpu  -t musecast:cpu  .
#   cuda  the same, and MuseTalk with torch      docker build --target cuda -t musecast:cuda .
# torch's wheels bring the CUDA runtime; what has to come from the host is the driver (NVIDIA Container Toolkit).
# Any Debian 12 root does as BASE, such as one that debootstrap has made.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 ca-certificates \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb

FROM base AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE supervisor.py ./
COPY broker broker
COPY clients clients
COPY configs configs
COPY models models
COPY stages stages
COPY supervision supervision
RUN python3 -m venv /opt/musecast \
    && /opt/musecast/bin/pip install --no-cache-dir --disable-pip-version-check '.[espeak,landmarks,gateway]' \
    && /opt/musecast/bin/musecast weights pull landmarks --set weights_dir=/opt/musecast

FROM build AS build-cuda
RUN /opt/musecast/bin/pip install --no-cache-dir --disable-pip-version-check '.[musetalk]' addict yapf termcolor \
    && /opt/musecast/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps \
        mmcv-lite==2.2.0 mmengine==0.10.7

FROM base AS runtime
RUN groupadd --gid 10001 musecast \
    && useradd --uid 10001 --gid 10001 --no-log-init --home-dir /var/lib/musecast --shell /usr/sbin/nologin musecast \
    && install -d -o musecast -g musecast -m 0700 /run/musecast /var/lib/musecast /var/lib/musecast/templates \
    && install -d -o musecast -g musecast -m 0755 /models
ENV PATH=/opt/musecast/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/musecast \
    MUSECAST_RUNTIME_DIR=/run/musecast \
    MUSECAST_STATE_DIR=/var/lib/musecast \
    MUSECAST_WEIGHTS_DIR=/models \
    MUSECAST_ENDPOINTS__GATEWAY=0.0.0.0:28888
EXPOSE 28888
STOPSIGNAL SIGTERM
# Gateway and broker both have to answer; open without a token.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", \
    "import urllib.request as web; web.urlopen('http://127.0.0.1:28888/health', timeout=4)"]
ENTRYPOINT ["python", "-m", "configs.container"]
CMD ["musecast", "up"]

FROM runtime AS cpu
COPY --from=build /opt/musecast /opt/musecast
USER 10001:10001

FROM runtime AS cuda
COPY --from=build-cuda /opt/musecast /opt/musecast
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    TRITON_CACHE_DIR=/var/lib/musecast/cache/triton \
    CUDA_CACHE_PATH=/var/lib/musecast/cache/cuda \
    MUSECAST_ENGINES__LIPSYNC="[musetalk, warp]" \
    MUSECAST_STAGES__LIPSYNC__DEVICES=auto
USER 10001:10001
