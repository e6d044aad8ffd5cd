image=quay.io/prometheus/alertmanager:v0.33.1
packages=(prometheus-alertmanager)
entrypoint='["/bin/alertmanager"]'
command='["--config.file=/etc/alertmanager/alertmanager.yml","--storage.path=/alertmanager"]'
directories=(etc/alertmanager alertmanager)
workdir=/alertmanager
links=(usr/bin/alertmanager=prometheus-alertmanager)
