# The demo's web, worker and beat. Build from the repository's root:
#   docker build -f deploy/demo.Dockerfile -t clew-demo:0.1.0 .
FROM python:3.13.12-slim-trixie AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/clew
ENV PATH=/opt/clew/bin:$PATH

WORKDIR /src
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY src ./src
# kombu's Redis transport imports packaging without asking for it.
RUN pip install ".[demo]" "psycopg[binary]>=3.2" "redis>=5" "packaging>=24"

FROM python:3.13.12-slim-trixie

ENV PATH=/opt/clew/bin:$PATH \
    PYTHONUNBUFFERED=1
# A home directory it may write to: beat keeps its schedule in the working directory.
RUN useradd --create-home --uid 10002 clew
COPY --from=build /opt/clew /opt/clew
USER 10002
WORKDIR /home/clew
EXPOSE 8000
CMD ["clew", "demo", "web", "--host", "0.0.0.0", "--port", "8000"]
