image=quay.io/coreos/etcd:v3.5.30
packages=(etcd-server etcd-client)
entrypoint='[]'
command='["/usr/local/bin/etcd"]'
directories=(usr/local/bin var/etcd)
workdir=/
links=(usr/local/bin/etcd=/usr/bin/etcd usr/local/bin/etcdctl=/usr/bin/etcdctl)
