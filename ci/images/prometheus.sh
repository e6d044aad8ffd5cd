# The image that deploy/observability/prometheus.yaml names.
image=quay.io/prometheus/prometheus:v3.5.3
packages=(prometheus)
entrypoint='["/bin/prometheus"]'
command='["--config.file=/etc/prometheus/prometheus.yml","--storage.tsdb.path=/prometheus"]'
directories=(etc/prometheus prometheus)
workdir=/prometheus
