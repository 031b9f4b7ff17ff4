# The demo application of unbuffer, in the place of yours.
ARG BASE=python:3.13-slim
FROM ${BASE}
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY unbuffer unbuffer
RUN python3 -m venv /opt/app && /opt/app/bin/python -m pip install --no-cache-dir ".[demo]"
ENV PATH=/opt/app/bin:$PATH \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8000
CMD ["uvicorn", "unbuffer.demo.app:app", "--host", "0.0.0.0", "--port", "8000"]
