//! The member's gRPC services: each call is checked, done on the shared store, and answered with the member's header.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use etcd_api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest,
    LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseRevokeRequest, LeaseRevokeResponse,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, MemberListRequest, MemberListResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, ResponseHeader, StatusRequest, StatusResponse, TxnRequest, TxnResponse,
    WatchCreateRequest, WatchRequest, WatchResponse, cluster_server, kv_server, lease_server, maintenance_server,
    watch_create_request::FilterType, watch_request, watch_server,
};
use futures::Stream;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::cluster::Life;
use crate::error::EtcdError;
use crate::member::VERSION;
use crate::store::{KeyRange, Store};

/// Bytes of one request, at most (etcd's default).
pub const REQUEST_BYTES_MAX: usize = 1_572_864;
/// Bytes gRPC accepts, so that a request a little too large gets etcd's own message.
const GRPC_BYTES_MAX: usize = REQUEST_BYTES_MAX + 512 * 1024;
/// Watches of one stream, at most; a further one is refused.
const WATCHES_PER_STREAM_MAX: usize = 10_000;
/// Answers of a stream that wait for a slow client; then the stream waits, and nothing is lost.
const STREAM_ANSWERS_MAX: usize = 64;
/// How often a quiet watch that asked for it hears where it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(600);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// All services of a member.
pub(crate) fn routes(life: &Arc<Life>) -> Routes {
    let member = Member { life: life.clone() };
    Routes::new(kv_server::KvServer::new(member.clone()).max_decoding_message_size(GRPC_BYTES_MAX))
        .add_service(watch_server::WatchServer::new(member.clone()))
        .add_service(lease_server::LeaseServer::new(member.clone()))
        .add_service(cluster_server::ClusterServer::new(member.clone()))
        .add_service(maintenance_server::MaintenanceServer::new(member))
        .prepare()
}

#[derive(Clone)]
struct Member {
    life: Arc<Life>,
}

impl Member {
    fn stamp(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(self.life.cluster.header(&self.life.name, revision));
    }

    fn read<T>(&self, serializable: bool, read: impl FnOnce(&Store) -> Result<T, EtcdError>) -> Result<T, EtcdError> {
        self.life.cluster.read(&self.life.name, self.life.number, serializable, read)
    }

    async fn propose<T>(
        &self,
        write: impl FnOnce(&mut Store, sim_clock::Timestamp) -> Result<T, EtcdError>,
    ) -> Result<T, EtcdError> {
        self.life.cluster.propose(&self.life.name, self.life.number, write).await
    }
}

fn check_size(request: &impl Message) -> Result<(), EtcdError> {
    if request.encoded_len() > REQUEST_BYTES_MAX { Err(EtcdError::RequestTooLarge) } else { Ok(()) }
}

#[tonic::async_trait]
impl kv_server::Kv for Member {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        let mut response = self.read(request.serializable, |store| store.range(&request))?;
        self.stamp(&mut response.header);
        Ok(Response::new(response))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        check_size(&request)?;
        let mut response = self.propose(|store, _| store.put(&request)).await?;
        self.stamp(&mut response.header);
        Ok(Response::new(response))
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let request = request.into_inner();
        check_size(&request)?;
        let mut response = self.propose(|store, _| store.delete_range(&request)).await?;
        self.stamp(&mut response.header);
        Ok(Response::new(response))
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let request = request.into_inner();
        check_size(&request)?;
        let mut response = self.propose(|store, _| store.txn(&request)).await?;
        self.stamp(&mut response.header);
        Ok(Response::new(response))
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        let request = request.into_inner();
        let mut response = self.propose(|store, _| store.compact(&request)).await?;
        self.stamp(&mut response.header);
        Ok(Response::new(response))
    }
}

#[tonic::async_trait]
impl lease_server::Lease for Member {
    async fn lease_grant(&self, request: Request<LeaseGrantRequest>) -> Result<Response<LeaseGrantResponse>, Status> {
        let request = request.into_inner();
        let mut response = self.propose(|store, now| store.lease_grant(now, &request)).await?;
        self.stamp(&mut response.header);
        Ok(Response::new(response))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let id = request.into_inner().id;
        let mut header = self.propose(|store, _| store.lease_revoke(id).map(|()| Some(store.header()))).await?;
        self.stamp(&mut header);
        Ok(Response::new(LeaseRevokeResponse { header }))
    }

    type LeaseKeepAliveStream = Answers<LeaseKeepAliveResponse>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let mut requests = request.into_inner();
        let member = self.clone();
        let (answers, stream) = mpsc::channel(STREAM_ANSWERS_MAX);
        sim_clock::spawn("etcd lease keep-alive", async move {
            while let Ok(Some(LeaseKeepAliveRequest { id })) = requests.message().await {
                // Renewals are the leader's own affair and not part of the log.
                let ttl = match member.keep_alive(id) {
                    Ok(ttl) => ttl,
                    Err(EtcdError::LeaseNotFound) => 0,
                    Err(error) => {
                        // The client may be gone already; either way the stream ends here.
                        let _ = answers.send(Err(error.into())).await;
                        return;
                    }
                };
                let mut header = None;
                member.stamp(&mut header);
                if answers.send(Ok(LeaseKeepAliveResponse { header, id, ttl })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let request = request.into_inner();
        let now = sim_clock::now();
        let mut response = self.read(false, |store| Ok(store.lease_time_to_live(now, &request)))?;
        self.stamp(&mut response.header);
        Ok(Response::new(response))
    }
}

impl Member {
    fn keep_alive(&self, id: i64) -> Result<i64, EtcdError> {
        self.life.cluster.keep_alive(&self.life.name, self.life.number, id)
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for Member {
    async fn member_list(&self, request: Request<MemberListRequest>) -> Result<Response<MemberListResponse>, Status> {
        let serializable = !request.into_inner().linearizable;
        let mut header = self.read(serializable, |store| Ok(Some(store.header())))?;
        self.stamp(&mut header);
        Ok(Response::new(MemberListResponse { header, members: self.life.cluster.members() }))
    }
}

#[tonic::async_trait]
impl maintenance_server::Maintenance for Member {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let (cluster, name) = (&self.life.cluster, &self.life.name);
        let mut header = self.read(true, |store| Ok(Some(store.header())))?;
        self.stamp(&mut header);
        let raft_term = header.as_ref().map_or(0, |header| header.raft_term);
        let figures = cluster.figures(name);
        let leader = cluster.leader_seen_by(name).map_or(0, |leader| cluster.member_id(&leader));
        let errors = if leader == 0 { vec![EtcdError::NoLeader.to_string()] } else { Vec::new() };
        Ok(Response::new(StatusResponse {
            header,
            version: VERSION.to_owned(),
            db_size: figures.database_bytes as i64,
            db_size_in_use: figures.database_bytes as i64,
            leader,
            raft_index: figures.proposals_committed,
            raft_applied_index: figures.proposals_committed,
            raft_term,
            errors,
            is_learner: false,
        }))
    }
}

#[tonic::async_trait]
impl watch_server::Watch for Member {
    type WatchStream = Answers<WatchResponse>;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let (answers, stream) = mpsc::channel(STREAM_ANSWERS_MAX);
        let watches = Watches { member: self.clone(), answers, open: BTreeMap::new(), next_id: 0 };
        sim_clock::spawn("etcd watch", watches.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

struct OpenWatch {
    range: KeyRange,
    /// First revision not yet sent.
    next_revision: i64,
    filters: Vec<FilterType>,
    previous: bool,
    progress: bool,
    quiet: bool,
}

/// The watches of one stream.
struct Watches {
    member: Member,
    answers: mpsc::Sender<Result<WatchResponse, Status>>,
    open: BTreeMap<i64, OpenWatch>,
    next_id: i64,
}

/// The client is gone, so nobody needs the stream any more.
struct Gone;

impl Watches {
    async fn run(mut self, mut requests: Streaming<WatchRequest>) {
        let mut revisions = self.member.life.cluster.revisions();
        let mut progress_at = tokio::time::Instant::now() + PROGRESS_INTERVAL;
        loop {
            let wants_progress = self.open.values().any(|watch| watch.progress);
            let gone = self.answers.clone();
            let step = tokio::select! {
                biased;
                () = gone.closed() => Err(Gone),
                request = requests.message() => match request {
                    Ok(Some(request)) => self.order(request).await,
                    Ok(None) | Err(_) => Err(Gone),
                },
                changed = revisions.changed() => if changed.is_ok() { self.send_events().await } else { Err(Gone) },
                () = tokio::time::sleep_until(progress_at), if wants_progress => {
                    progress_at = tokio::time::Instant::now() + PROGRESS_INTERVAL;
                    self.send_progress().await
                }
            };
            if step.is_err() {
                return;
            }
        }
    }

    async fn order(&mut self, request: WatchRequest) -> Result<(), Gone> {
        match request.request_union {
            Some(watch_request::RequestUnion::CreateRequest(create)) => self.create(create).await,
            Some(watch_request::RequestUnion::CancelRequest(cancel)) => match self.open.remove(&cancel.watch_id) {
                Some(_) => {
                    self.send(WatchResponse { watch_id: cancel.watch_id, canceled: true, ..Default::default() }).await
                }
                None => Ok(()),
            },
            Some(watch_request::RequestUnion::ProgressRequest(_)) => {
                self.send_events().await?;
                self.send(WatchResponse { watch_id: -1, ..Default::default() }).await
            }
            None => Ok(()),
        }
    }

    async fn create(&mut self, create: WatchCreateRequest) -> Result<(), Gone> {
        let id = if create.watch_id == 0 { self.fresh_id() } else { create.watch_id };
        let refused = |reason: &str| WatchResponse {
            watch_id: id,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..Default::default()
        };
        if self.open.contains_key(&id) {
            return self
                .send(WatchResponse { watch_id: -1, ..refused("mvcc: duplicate watch ID provided on the WatchStream") })
                .await;
        }
        if self.open.len() >= WATCHES_PER_STREAM_MAX {
            return self.send(refused("etcdserver: too many watches on the stream")).await;
        }
        let newest = match self.member.read(true, |store| Ok(store.revision())) {
            Ok(revision) => revision,
            Err(error) => return self.send(refused(&error.to_string())).await,
        };
        let watch = OpenWatch {
            filters: create.filters().collect(),
            // An empty key with an empty end is refused for a range, but means the first possible key for a watch.
            range: KeyRange::new(if create.key.is_empty() { vec![0] } else { create.key }, create.range_end),
            next_revision: if create.start_revision > 0 { create.start_revision } else { newest + 1 },
            previous: create.prev_kv,
            progress: create.progress_notify,
            quiet: true,
        };
        self.open.insert(id, watch);
        self.send(WatchResponse { watch_id: id, created: true, ..Default::default() }).await?;
        self.send_events().await
    }

    fn fresh_id(&mut self) -> i64 {
        while self.open.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Sends each watch what it has not seen yet, and closes those whose next revision was compacted away.
    async fn send_events(&mut self) -> Result<(), Gone> {
        let ids: Vec<i64> = self.open.keys().copied().collect();
        for id in ids {
            let Some(watch) = self.open.get_mut(&id) else { continue };
            let found = self.member.life.cluster.read(&self.member.life.name, self.member.life.number, true, |store| {
                let events = store.events(&watch.range, watch.next_revision, &watch.filters, watch.previous);
                Ok((events, store.revision(), store.compacted()))
            });
            let Ok((events, newest, compacted)) = found else { return Err(Gone) };
            match events {
                Ok(events) => {
                    watch.next_revision = watch.next_revision.max(newest + 1);
                    if !events.is_empty() {
                        watch.quiet = false;
                        self.send(WatchResponse { watch_id: id, events, ..Default::default() }).await?;
                    }
                }
                Err(error) => {
                    self.open.remove(&id);
                    self.send(WatchResponse {
                        watch_id: id,
                        canceled: true,
                        compact_revision: compacted,
                        cancel_reason: error.to_string(),
                        ..Default::default()
                    })
                    .await?;
                }
            }
        }
        Ok(())
    }

    async fn send_progress(&mut self) -> Result<(), Gone> {
        let quiet: Vec<i64> =
            self.open.iter().filter(|(_, watch)| watch.progress && watch.quiet).map(|(id, _)| *id).collect();
        for watch in self.open.values_mut() {
            watch.quiet = true;
        }
        for watch_id in quiet {
            self.send(WatchResponse { watch_id, ..Default::default() }).await?;
        }
        Ok(())
    }

    async fn send(&self, mut response: WatchResponse) -> Result<(), Gone> {
        let header = self.member.read(true, |store| Ok(store.header())).map_err(|_| Gone)?;
        response.header = Some(header);
        self.member.stamp(&mut response.header);
        self.answers.send(Ok(response)).await.map_err(|_| Gone)
    }
}
