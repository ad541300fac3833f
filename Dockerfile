FROM python:3.13-slim AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[cli,fast,jwt]'

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home notifier
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'notifier-service[cli,fast,jwt]'
USER notifier
# Not a folder that anything in the container can write: what one is started in deserves no trust.
WORKDIR /
# A container listens on all of its addresses, where auth=none is refused: mount a tokens file.
ENV PYTHONUNBUFFERED=1 \
    NOTIFIER_HOST=0.0.0.0 \
    NOTIFIER_PORT=8000 \
    NOTIFIER_AUTH=tokens \
    NOTIFIER_TOKENS_FILE=/run/secrets/notifier_tokens.json
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["python", "-c", \
    "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"NOTIFIER_PORT\"]}/healthz/ready', timeout=2)"]
ENTRYPOINT ["notifier-service"]
CMD ["serve"]
