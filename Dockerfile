# Two images from one file:
#   service   the control plane: neither torch nor ray, works with a read-only root
#   ray       a Ray node, head or worker: torch's CUDA build, which also runs on a CPU
#
#   docker build --target service --tag fgd .
#   docker build --target ray --tag fgd-ray .
#
# BuildKit only (the default since Docker 23; DOCKER_BUILDKIT=1 before): its caches speed up the second build.
# To pin the base as well, give its digest: --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/opt/fgd/bin:$PATH
RUN groupadd --gid 10001 fgd && useradd --uid 10001 --gid fgd --create-home --home-dir /home/fgd fgd


FROM base AS builder
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --disable-pip-version-check uv==0.13.9 \
    && python3 -m venv --without-pip /opt/fgd
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
COPY deploy/requirements-build.txt /build/
RUN --mount=type=cache,target=/root/.cache/uv \
    python3 -m venv --without-pip /opt/wheels \
    && /opt/uv/bin/uv pip sync --quiet --python /opt/wheels/bin/python /build/requirements-build.txt


# Our own code is built as a wheel in a separate stage, so that changing it keeps the cached layers of packages.
FROM builder AS wheel
WORKDIR /build/fgd
COPY pyproject.toml README.md LICENSE ./
COPY fgd_core fgd_core
COPY workers workers
COPY service service
COPY migrations migrations
COPY examples examples
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv build --quiet --wheel --no-build-isolation --python /opt/wheels/bin/python --out-dir /build/dist


FROM builder AS service-packages
COPY deploy/requirements-service.txt /build/
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv pip sync --quiet --python /opt/fgd/bin/python /build/requirements-service.txt


FROM builder AS ray-packages
COPY deploy/requirements-workers.txt /build/
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv pip sync --quiet --python /opt/fgd/bin/python /build/requirements-workers.txt


FROM base AS service
COPY --from=service-packages /opt/fgd /opt/fgd
RUN --mount=from=builder,source=/opt/uv,target=/opt/uv --mount=from=wheel,source=/build/dist,target=/dist \
    /opt/uv/bin/uv pip install --quiet --no-cache --no-deps --compile-bytecode --python /opt/fgd/bin/python /dist/*.whl \
    && install --directory --owner fgd --group fgd /var/lib/fgd /artifacts /backups
USER fgd
ENV FGD_HOME=/var/lib/fgd FGD_HOST=0.0.0.0 FGD_PORT=8321
EXPOSE 8321
STOPSIGNAL SIGTERM
# Checks liveness, not readiness: restarting this container does not help if the database is unreachable.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8321/livez', timeout=4)"]
ENTRYPOINT ["fgd"]
CMD ["up", "--log-format", "json"]


FROM base AS ray
# With a C compiler, the losses build their passes for the node's own CPU, and Triton and Inductor theirs for its GPU.
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY --from=ray-packages /opt/fgd /opt/fgd
RUN --mount=from=builder,source=/opt/uv,target=/opt/uv --mount=from=wheel,source=/build/dist,target=/dist \
    /opt/uv/bin/uv pip install --quiet --no-cache --no-deps --compile-bytecode --python /opt/fgd/bin/python /dist/*.whl \
    && install --directory --owner fgd --group fgd /scratch /home/fgd/.cache
USER fgd
# Disables Ray's usage reports, which it sends out of the cluster by default.
ENV FGD_SCRATCH=/scratch RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token
EXPOSE 6379 8265 8080
STOPSIGNAL SIGTERM
# The agent of this node: the raylet, and on the head the GCS.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:52365/api/healthz', timeout=4)"]
ENTRYPOINT ["ray", "start", "--block", "--disable-usage-stats", "--metrics-export-port=8080", "--dashboard-agent-listen-port=52365"]
