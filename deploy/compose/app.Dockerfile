# The demo application of unbuffer, in the place of yours.
ARG BASE=python:3.13-slim
FROM ${BASE}
WORKDIR /build
COPY pyproject.toml setup.py build_backend.py build_metadata.py README.md LICENSE ./
COPY unbuffer unbuffer
# The relay is not used here: nothing to compile.
RUN python3 -m venv /opt/app && UNBUFFER_COMPILE=0 /opt/app/bin/python -m pip install --no-cache-dir ".[demo]"
ENV PATH=/opt/app/bin:$PATH \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8000
CMD ["uvicorn", "unbuffer.demo.app:app", "--host", "0.0.0.0", "--port", "8000"]
