# Any base with Python 3.11 or newer, its venv module, sh and useradd.
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
COPY requirements requirements
# pip stays here: what runs needs none.
RUN python3 -m venv /build && \
    python3 -m venv --without-pip /opt/notifier-service && \
    /build/bin/pip install --no-cache-dir --require-hashes --requirement requirements/build.txt && \
    /build/bin/pip --python /opt/notifier-service/bin/python install --no-cache-dir --require-hashes \
        --requirement requirements/image.txt
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY notifier_service notifier_service
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . && \
    /build/bin/pip --python /opt/notifier-service/bin/python install --no-deps --no-index /wheels/*.whl

FROM ${BASE}
RUN useradd --system --uid 10001 --no-create-home notifier
COPY --from=build /opt/notifier-service /opt/notifier-service
USER notifier
# Not a folder that anything in the container can write: what one is started in deserves no trust.
WORKDIR /
# A container listens on all of its addresses, where auth=none is refused: mount a tokens file.
ENV PATH=/opt/notifier-service/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NOTIFIER_HOST=0.0.0.0 \
    NOTIFIER_PORT=8000 \
    NOTIFIER_AUTH=tokens \
    NOTIFIER_TOKENS_FILE=/run/secrets/notifier_tokens.json
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["python", "-c", \
    "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"NOTIFIER_PORT\"]}/healthz/ready', timeout=2)"]
ENTRYPOINT ["notifier-service"]
CMD ["serve"]
