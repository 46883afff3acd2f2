# One image for every part: `orderlog api`, `orderlog relay`, `orderlog project`.
FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements.lock ./
RUN python -m venv /opt/orderlog \
 && /opt/orderlog/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY events events
COPY commands commands
COPY projections projections
COPY api api
RUN /opt/orderlog/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin orderlog
COPY --from=build /opt/orderlog /opt/orderlog
ENV PATH=/opt/orderlog/bin:$PATH PYTHONUNBUFFERED=1 ORDERLOG_HOST=0.0.0.0 ORDERLOG_LOG_FORMAT=json
USER orderlog
WORKDIR /tmp
EXPOSE 8000
ENTRYPOINT ["orderlog"]
CMD ["api"]
