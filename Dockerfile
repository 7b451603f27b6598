# The server's image, for CPUs and for NVIDIA GPUs.
#
#   docker build -t loraplex --build-arg TORCH_INDEX=<index of PyTorch's CPU wheels> .
#   docker build -t loraplex:cuda --build-arg BASE=nvidia/cuda:13.0.2-base-ubuntu24.04 --build-arg ALLOW_CUDA=1 .
#
# BASE is any Debian or Ubuntu. Its own python3 is taken, or where it has none, apt's: 3.11 or later. CUDA's libraries come
# with torch, as wheels, so a base that brings them too would only be larger.
ARG BASE=python:3.11-slim-bookworm

# --- What all stages share: Python, and an init.
FROM ${BASE} AS base
# No versions: Debian keeps only the newest of each, so a pinned one cannot be built any more after a security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && (command -v python3 || apt-get install -y --no-install-recommends python3) \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    # Nobody becomes anybody else in here.
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +

# --- An empty environment at the path that it will have in the image, and pip in it.
FROM base AS tools
# hadolint ignore=DL3008
RUN python3 -c 'import ensurepip' 2> /dev/null \
    || (apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/* /var/cache/apt/*)
RUN python3 -m venv /opt/loraplex
# 0 is how pip spells yes for this one: bytecode is compiled below.
ENV PATH=/opt/loraplex/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=0
WORKDIR /source

# --- What has to be installed: a change of pyproject.toml that does not touch it changes nothing below.
FROM tools AS requirements
COPY pyproject.toml tools/requirements.py ./
# More extras of pyproject.toml, apart by spaces, beside `tracing`, which the chart's tracing.endpoint and
# --otlp-traces-endpoint need: 10 MB, loaded by nobody else.
ARG EXTRAS=
ARG ALLOW_CUDA=
RUN python requirements.py ${ALLOW_CUDA:+--cuda} tracing ${EXTRAS} > requirements.txt

# --- torch and all that the server imports. A layer of its own: releases share it as long as their pins are the same.
FROM tools AS dependencies
COPY constraints.txt tools/install_torch.py ./
COPY --from=requirements /source/requirements.txt ./
# Of the CPU's torch, the index that has it; without one, what pip is set up with. CUDA's comes only where it is allowed.
ARG TORCH_INDEX=
ARG ALLOW_CUDA=
# Out again goes what only compilers and torch's own tests use. Bytecode never looks at its source's time: tools that rewrite
# times in layers would make Python compile all of it anew at each start, since it cannot keep what it compiled.
RUN --mount=type=cache,target=/root/.cache/pip \
    COMMAND='docker build --build-arg' python install_torch.py constraints.txt \
    && pip install -q -c constraints.txt -r requirements.txt \
    && pip check \
    && find /opt/loraplex/lib -regextype egrep -type d \
    -regex '.*/site-packages/(torch/(include|share|test)|pip|pip-[^/]*)' -prune -exec rm -r {} + \
    && find /opt/loraplex/lib -type f -path '*/torch/bin/*' ! -name torch_shm_manager -delete \
    && rm /opt/loraplex/bin/pip* \
    # Not torch's tests, some of which are in the words of a later Python.
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash -x torch/testing/_internal /opt/loraplex/lib

# --- This project: a wheel, with the kernels compiled for each kind of processor.
FROM tools AS package
COPY constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip pip install -q -c constraints.txt hatchling ziglang
COPY hatch_build.py ./
COPY kernels/loraplex_kernels/csrc kernels/loraplex_kernels/csrc
# By itself it fails where it cannot compile them; inside of a wheel's build it would go on without.
RUN python hatch_build.py
COPY . .
RUN python -m hatchling build -t wheel \
    && pip install -q --no-cache-dir --no-deps --no-index --prefix /opt/package dist/*.whl \
    && cp -r deploy/image/vllm /opt/package/lib/python3*/site-packages/ \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/package

# --- The image.
FROM base AS runtime
ARG ALLOW_CUDA=
# On a GPU Triton compiles one C file against Python's headers and the driver that it finds, at the first start; what it
# makes lies in /cache. Without a GPU there is no Triton, and no compiler.
# hadolint ignore=DL3008
RUN groupadd --gid 10001 loraplex \
    && useradd --uid 10001 --gid 10001 --home-dir /cache --no-create-home --shell /usr/sbin/nologin loraplex \
    # Group 0: for platforms that run an image as a user of their own choice, who is in that group.
    && install -d -o 10001 -g 0 -m 0775 /cache /state \
    && install -d /models /adapters \
    && if [ -n "${ALLOW_CUDA}" ]; then \
    apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && (test -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
    || apt-get install -y --no-install-recommends python3-dev) \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +; \
    fi
COPY --from=dependencies /opt/loraplex /opt/loraplex
COPY --from=package /opt/package /opt/loraplex
COPY deploy/image/commands /opt/commands
ENV PATH=/opt/commands:/opt/loraplex/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/cache \
    XDG_CACHE_HOME=/cache \
    HF_HOME=/cache/huggingface \
    TRITON_CACHE_DIR=/cache/triton \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LORAPLEX_HOST=0.0.0.0
ARG VERSION=0.1.0
ARG REVISION=
ARG SOURCE=
LABEL org.opencontainers.image.title="Loraplex" \
    org.opencontainers.image.description="A multi-LoRA model server: one base model in memory, any number of LoRA adapters in the same batch" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.source="${SOURCE}"
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# A model may take long to load: until it is, or that time is over, failures do not count.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 CMD ["python3", "-I", "-S", "/opt/commands/health.py"]
ENTRYPOINT ["loraplex"]
CMD ["serve"]
