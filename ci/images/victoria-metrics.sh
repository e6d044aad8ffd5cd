image=victoriametrics/victoria-metrics:v1.145.0
packages=(victoria-metrics libzstd1)
entrypoint='["/victoria-metrics-prod"]'
command='["--storageDataPath=/victoria-metrics-data"]'
directories=(victoria-metrics-data)
workdir=/
links=(victoria-metrics-prod=usr/bin/victoria-metrics)
