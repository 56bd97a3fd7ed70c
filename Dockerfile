# An image that can run any playhead command; by default it runs a worker that serves the example agents.
#
#   docker build -t playhead .
#   docker run --rm -e PLAYHEAD_URL=redis://host:6379 -v "$PWD/agents.py:/app/agents.py:ro" playhead worker agents.py
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

RUN useradd --system --user-group --no-create-home playhead

WORKDIR /app

# The three pin each other exactly, so one command installs them together.
COPY runtime /app/runtime
COPY workers /app/workers
COPY client /app/client
RUN pip install "/app/runtime[http,openai]" /app/workers "/app/client[cli]"

# Last, because the examples change most often.
COPY examples /app/examples

USER playhead
ENTRYPOINT ["playhead"]
CMD ["worker", "examples/agents.py"]
