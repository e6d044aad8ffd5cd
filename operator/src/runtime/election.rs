//! Which of several operators works: the one that holds the Lease.
//!
//! The rules are those of client-go's leader election, so that a Go operator and this one can follow each other on one Lease: a
//! lease is taken over when its *record* has not changed for its duration on the watcher's own clock (the times in it are for human
//! eyes), the holder renews it every [`ElectionConfig::retry_period`] and gives up after [`ElectionConfig::renew_deadline`] without success, and whoever
//! ends in peace releases it for the next one to take at once.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    host::system_time,
    observability::{EventRecorder, Metrics, export::with_sources},
    signal::Signal,
};

/// The Lease's name, as the original operator's.
pub const LEASE_NAME: &str = "multigres-operator.multigres.com";
/// How much longer than the retry period the wait for somebody else's lease may be: a random part of this times the period.
const JITTER: f64 = 1.2;
/// How long the release at the end may take.
pub const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// The times of an election; client-go's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElectionConfig {
    /// How long a record that does not change protects its holder.
    pub lease_duration: Duration,
    /// How long the holder tries to renew before it gives up.
    pub renew_deadline: Duration,
    /// Between two attempts.
    pub retry_period: Duration,
}

impl Default for ElectionConfig {
    fn default() -> Self {
        Self {
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

impl ElectionConfig {
    /// What is wrong with the times, in client-go's order.
    pub fn problem(&self) -> Option<&'static str> {
        if self.lease_duration <= self.renew_deadline {
            return Some("the lease duration must be greater than the renew deadline");
        }
        if self.renew_deadline.as_secs_f64() <= self.retry_period.as_secs_f64() * JITTER {
            return Some("the renew deadline must be greater than the retry period times 1.2");
        }
        (self.retry_period.is_zero() || self.lease_duration < Duration::from_secs(1))
            .then_some("the lease lasts at least a second, and the retry period is not zero")
    }
}

/// Why an election ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As asked; a lease that was held is released.
    Asked,
    /// The lease could not be renewed in time: somebody else may work now.
    Lost,
}

/// One candidate.
pub struct Election {
    leases: Api<Lease>,
    namespace: String,
    identity: String,
    config: ElectionConfig,
    metrics: Metrics,
    events: EventRecorder,
    observed: Option<Observed>,
}

/// A record as it was last seen, and when it was first seen so.
struct Observed {
    lease: Lease,
    since: Instant,
}

/// What a record asks for.
#[derive(Debug, PartialEq)]
enum Next {
    /// Somebody else holds it.
    Wait,
    /// Write this.
    Write(LeaseSpec),
}

impl Election {
    /// A candidate called `<host>_<unique>`, for the lease of its namespace.
    pub fn new(
        client: Client,
        namespace: &str,
        host: &str,
        config: ElectionConfig,
        metrics: Metrics,
        events: EventRecorder,
    ) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            identity: format!("{host}_{}", unique()),
            config,
            metrics,
            events,
            observed: None,
        }
    }

    /// Waits until this operator could work (`able`) and then for the lease, tells `elected`, and keeps it until `stop` is given or it
    /// is lost. Who led before its caches are filled would keep everybody else from working meanwhile.
    pub(crate) async fn run(mut self, able: Signal, elected: Signal, stop: Signal) -> Ended {
        self.metrics.set_leader(LEASE_NAME, false);
        tokio::select! {
            biased;
            () = stop.wait() => return Ended::Asked,
            () = able.wait() => {}
        }
        tracing::info!(lease = LEASE_NAME, identity = %self.identity, "attempting to acquire leader lease");
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return Ended::Asked,
                acquired = self.attempt() => if acquired { break },
            }
            tokio::select! {
                biased;
                () = stop.wait() => return Ended::Asked,
                () = sleep(self.config.retry_period.mul_f64(1.0 + JITTER * fraction())) => {}
            }
        }
        self.metrics.set_leader(LEASE_NAME, true);
        self.say("became leader");
        tracing::info!(lease = LEASE_NAME, "successfully acquired lease");
        elected.give();
        let ended = self.keep(&stop).await;
        self.metrics.set_leader(LEASE_NAME, false);
        self.say("stopped leading");
        match ended {
            Ended::Asked => self.release().await,
            Ended::Lost => tracing::error!(lease = LEASE_NAME, "leader election lost"),
        }
        ended
    }

    async fn keep(&mut self, stop: &Signal) -> Ended {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return Ended::Asked,
                () = sleep(self.config.retry_period) => {}
            }
            let deadline = renewed + self.config.retry_period + self.config.renew_deadline;
            tokio::select! {
                biased;
                () = stop.wait() => return Ended::Asked,
                kept = tokio::time::timeout_at(deadline, self.attempt()) => match kept {
                    Ok(true) => renewed = Instant::now(),
                    Ok(false) if self.is_somebody_elses() => return Ended::Lost,
                    _ if Instant::now() >= deadline => return Ended::Lost,
                    _ => {}
                },
            }
        }
    }

    fn is_somebody_elses(&self) -> bool {
        let holder =
            self.observed.as_ref().and_then(|observed| observed.lease.spec.as_ref()?.holder_identity.as_deref());
        holder.is_some_and(|holder| !holder.is_empty() && holder != self.identity)
    }

    fn say(&self, what: &str) {
        let metadata = ObjectMeta {
            name: Some(LEASE_NAME.to_owned()),
            namespace: Some(self.namespace.clone()),
            uid: self.observed.as_ref().and_then(|observed| observed.lease.metadata.uid.clone()),
            ..ObjectMeta::default()
        };
        let lease = Lease { metadata, spec: None };
        self.events.normal(&lease, "LeaderElection", format!("{} {what}", self.identity));
    }

    /// Tries once to take or to renew the lease.
    async fn attempt(&mut self) -> bool {
        match timeout(self.config.renew_deadline / 2, self.take_or_renew()).await {
            Ok(Ok(leads)) => leads,
            Ok(Err(error)) => {
                tracing::warn!(lease = LEASE_NAME, error = %with_sources(&error), "the lease cannot be taken or renewed");
                false
            }
            Err(_) => {
                tracing::warn!(lease = LEASE_NAME, "no answer about the lease in time");
                false
            }
        }
    }

    async fn take_or_renew(&mut self) -> Result<bool, kube::Error> {
        // The holder writes over the record that it knows. Where that is not the present one it looks first, like everybody else.
        if let Some(observed) = &self.observed
            && let Some(spec) = &observed.lease.spec
            && spec.holder_identity.as_deref() == Some(&self.identity)
            && let Next::Write(spec) = self.next(Some(spec), Duration::ZERO)
            && let Ok(stored) = self.write(observed.lease.metadata.clone(), spec).await
        {
            self.observe(stored);
            return Ok(true);
        }
        let present = self.leases.get_opt(LEASE_NAME).await?;
        let Some(present) = present else {
            let Next::Write(spec) = self.next(None, Duration::ZERO) else { return Ok(false) };
            let metadata = ObjectMeta {
                name: Some(LEASE_NAME.to_owned()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            };
            let lease = Lease { metadata, spec: Some(spec) };
            let stored = self.leases.create(&PostParams::default(), &lease).await?;
            self.observe(stored);
            return Ok(true);
        };
        self.observe(present.clone());
        let unchanged_for = self.observed.as_ref().map_or(Duration::ZERO, |observed| observed.since.elapsed());
        match self.next(present.spec.as_ref(), unchanged_for) {
            Next::Wait => Ok(false),
            Next::Write(spec) => {
                let stored = self.write(present.metadata, spec).await?;
                self.observe(stored);
                Ok(true)
            }
        }
    }

    /// Replaces the record, if it is still the one that `metadata` comes from.
    async fn write(&self, metadata: ObjectMeta, spec: LeaseSpec) -> Result<Lease, kube::Error> {
        let lease = Lease { metadata, spec: Some(spec) };
        self.leases.replace(LEASE_NAME, &PostParams::default(), &lease).await
    }

    fn observe(&mut self, lease: Lease) {
        let known = self.observed.as_ref().is_some_and(|observed| observed.lease.spec == lease.spec);
        let since = match &self.observed {
            Some(observed) if known => observed.since,
            _ => Instant::now(),
        };
        self.observed = Some(Observed { lease, since });
    }

    fn next(&self, present: Option<&LeaseSpec>, unchanged_for: Duration) -> Next {
        next(&self.identity, self.config.lease_duration, present, unchanged_for, system_time())
    }

    async fn release(&mut self) {
        let Some(Observed { lease, .. }) = self.observed.take() else { return };
        let now = micro_time(system_time());
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            lease_transitions: lease.spec.as_ref().and_then(|spec| spec.lease_transitions),
            ..LeaseSpec::default()
        };
        match timeout(RELEASE_TIMEOUT, self.write(lease.metadata, spec)).await {
            Ok(Ok(_)) => tracing::info!(lease = LEASE_NAME, "lease released"),
            Ok(Err(error)) => {
                tracing::warn!(lease = LEASE_NAME, error = %with_sources(&error), "the lease could not be released");
            }
            Err(_) => tracing::warn!(lease = LEASE_NAME, "the lease could not be released in time"),
        }
    }
}

/// What a candidate makes of a record that has not changed for so long.
fn next(
    identity: &str,
    lease_duration: Duration,
    present: Option<&LeaseSpec>,
    unchanged_for: Duration,
    now: SystemTime,
) -> Next {
    let holder = present.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    let mine = holder == identity;
    // What protects is the duration that the holder wrote.
    let protected = present
        .and_then(|spec| spec.lease_duration_seconds)
        .map_or(lease_duration, |seconds| Duration::from_secs(seconds.max(0) as u64));
    if !holder.is_empty() && !mine && unchanged_for <= protected {
        return Next::Wait;
    }
    let now = micro_time(now);
    let transitions = present.and_then(|spec| spec.lease_transitions).unwrap_or(0);
    let (acquired, transitions) = match present {
        Some(spec) if mine => (spec.acquire_time.clone(), transitions),
        Some(_) => (Some(now.clone()), transitions.saturating_add(1)),
        None => (Some(now.clone()), 0),
    };
    Next::Write(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(i32::try_from(lease_duration.as_secs()).unwrap_or(i32::MAX)),
        acquire_time: acquired,
        renew_time: Some(now),
        lease_transitions: Some(transitions),
        ..LeaseSpec::default()
    })
}

fn micro_time(time: SystemTime) -> MicroTime {
    MicroTime(Timestamp::try_from(time).unwrap_or_default())
}

/// A version 4 UUID.
fn unique() -> String {
    let random = u128::from_be_bytes(RandomIdGenerator::default().new_trace_id().to_bytes());
    let version = random & !(0xf << 76) | 0x4 << 76;
    let variant = version & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{variant:032x}");
    let mut text = String::with_capacity(36);
    for (at, digit) in hex.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

/// A random number from 0 up to, but not, 1.
fn fraction() -> f64 {
    let bits = u64::from_be_bytes(RandomIdGenerator::default().new_span_id().to_bytes());
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const DURATION: Duration = Duration::from_secs(15);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn written(next: Next) -> LeaseSpec {
        match next {
            Next::Write(spec) => spec,
            Next::Wait => panic!("a record to write"),
        }
    }

    fn decide(identity: &str, present: Option<&LeaseSpec>, unchanged_for: u64, now: u64) -> Next {
        next(identity, DURATION, present, Duration::from_secs(unchanged_for), at(now))
    }

    #[test]
    fn who_comes_first_gets_it_and_keeps_its_acquire_time() {
        let first = written(decide("a", None, 0, 100));
        assert_eq!((first.holder_identity.as_deref(), first.lease_transitions), (Some("a"), Some(0)));
        assert_eq!(first.lease_duration_seconds, Some(15));
        let renewed = written(decide("a", Some(&first), 2, 102));
        assert_eq!((&renewed.acquire_time, renewed.lease_transitions), (&first.acquire_time, Some(0)));
        assert_ne!(renewed.renew_time, first.renew_time);
    }

    #[test]
    fn a_lease_is_taken_over_when_its_record_stood_still_longer_than_it_lasts_whatever_its_times_say() {
        // The holder's clock is years ahead.
        let held = written(decide("a", None, 0, 1_000_000_000));
        assert_eq!(decide("b", Some(&held), 0, 100), Next::Wait);
        assert_eq!(decide("b", Some(&held), 15, 100), Next::Wait);
        let taken = written(decide("b", Some(&held), 16, 100));
        assert_eq!((taken.holder_identity.as_deref(), taken.lease_transitions), (Some("b"), Some(1)));
        assert_eq!(taken.acquire_time, taken.renew_time);
    }

    #[test]
    fn a_lease_lasts_as_long_as_its_holder_wrote() {
        let held = LeaseSpec { lease_duration_seconds: Some(60), ..written(decide("a", None, 0, 1)) };
        assert_eq!(decide("b", Some(&held), 59, 100), Next::Wait);
        written(decide("b", Some(&held), 61, 100));
    }

    #[test]
    fn a_released_lease_is_free_at_once() {
        let released = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        };
        assert_eq!(written(decide("b", Some(&released), 0, 100)).lease_transitions, Some(5));
    }

    #[test]
    fn times_that_cannot_work_are_refused() {
        assert_eq!(ElectionConfig::default().problem(), None);
        let seconds = Duration::from_secs;
        for (lease, renew, retry) in [(10, 10, 2), (15, 2, 2), (15, 10, 0)] {
            let config = ElectionConfig {
                lease_duration: seconds(lease),
                renew_deadline: seconds(renew),
                retry_period: seconds(retry),
            };
            assert!(config.problem().is_some(), "{config:?}");
        }
    }

    #[test]
    fn an_identity_ends_in_a_uuid() {
        let id = unique();
        assert_eq!(id.len(), 36, "{id}");
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert!((0.0..1.0).contains(&fraction()));
    }
}
