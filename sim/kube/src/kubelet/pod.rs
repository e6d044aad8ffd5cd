//! The life of one pod.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use sim_clock::{now, watch};
use sim_net::Host;
use tokio::sync::mpsc;

use super::{
    ContainerStart, Exit, Shared, Stop,
    container::{Slot, State},
    pod_env,
    probe::{Kind, Probe},
    status::pod_status,
};
use crate::{
    engine::{DeleteQuery, Object, Target, WriteOptions},
    json,
    outages::{CRASH_AFTER, Doom, MEMORY_LASTS},
    workloads::{set_condition, with_status},
};

/// Notes a pod's tasks may have waiting for its worker.
const NOTES_MAX: usize = 256;
/// First pause of a crashing container; doubles each time.
const BACK_OFF: Duration = Duration::from_secs(10);
/// Longest pause of a crashing container.
const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// A container that ran this long starts over with its pauses.
const BACK_OFF_RESET: Duration = Duration::from_secs(600);
/// How often a container whose configuration is missing is tried again.
const CONFIG_RETRY: Duration = Duration::from_secs(5);

/// How long a failed pull shows as `ErrImagePull` before it shows as `ImagePullBackOff`.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(1);
/// Lines of the log that stand in for a termination message.
const FALLBACK_LINES_MAX: usize = 80;
/// Bytes of the log that stand in for a termination message.
const FALLBACK_BYTES_MAX: usize = 2048;

/// What a pod's tasks tell its worker.
#[derive(Debug)]
pub(super) enum Note {
    /// The pause before a container is tried again is over.
    Try { slot: usize },
    /// Its image has been there all along, and it can start.
    Present { slot: usize },
    /// The attempt to pull its image is over.
    Pulled { slot: usize, took: Duration },
    /// A pull failed a moment ago; the next one waits.
    PullWaits { slot: usize, error: String },
    /// A container ended; by the kernel or the kubelet if a reason is given.
    Exited { slot: usize, run: u64, exit: Exit, reason: Option<&'static str> },
    /// A probe was answered.
    Probe { slot: usize, run: u64, kind: Kind, failure: Option<String>, settled: bool },
}

struct Worker {
    shared: Arc<Shared>,
    pod: Object,
    host: Host,
    node: Host,
    slots: Vec<Slot>,
    notes: mpsc::Sender<Note>,
    start_time: String,
    ending: bool,
    /// The kubelet gave up on the pod: reason and message of its failure.
    failed: Option<(&'static str, String)>,
    /// The state may differ from what was reported last.
    due: bool,
    reported: Option<Value>,
}

/// How a container ends that an outage strikes.
fn fate(doom: Doom) -> (Exit, Option<&'static str>) {
    match doom {
        Doom::Crash(code) => (Exit { code, message: String::new() }, None),
        Doom::Memory => (Exit { code: 137, message: String::new() }, Some("OOMKilled")),
    }
}

fn generation(pod: &Value) -> Option<&Value> {
    json::at(pod, &["metadata", "generation"])
}

/// Runs a pod until it is gone.
pub(super) async fn work(shared: Arc<Shared>, mut updates: watch::Receiver<Object>) {
    let pod = updates.borrow_and_update().clone();
    let Some(node) = shared.nodes.get(json::text(&pod, &["spec", "nodeName"])).cloned() else { return };
    let host = shared.network.host(&format!("pod/{}/{}", json::namespace(&pod), json::name(&pod)));
    let ip = host.ip();
    let (notes, mut inbox) = mpsc::channel(NOTES_MAX);
    let init = json::list(&pod, &["spec", "initContainers"]).iter().map(|c| Slot::new(c, true));
    let mains = json::list(&pod, &["spec", "containers"]).iter().map(|c| Slot::new(c, false));
    let slots = init.chain(mains).collect();
    let mut mounts = shared.mounts.subscribe();
    let start_time = now().rfc3339();
    let mut worker = Worker {
        shared,
        pod,
        host,
        node,
        slots,
        notes,
        start_time,
        ending: false,
        failed: None,
        due: true,
        reported: None,
    };
    worker.join();
    let mut kill_at: Option<tokio::time::Instant> = None;
    let mut outages = worker.shared.outages.watch();
    let deadline = json::int(&worker.pod, &["spec", "activeDeadlineSeconds"])
        .map(|s| tokio::time::Instant::now() + Duration::from_secs(s.max(0) as u64));
    loop {
        while worker.shared.outages.kubelet_dead(worker.node_name()) {
            // Nobody looks; what the containers do meanwhile is found afterwards.
            if outages.changed().await.is_err() {
                return;
            }
            worker.due = true;
        }
        if !worker.ending && json::deleting(&worker.pod) {
            worker.ending = true;
            let grace = json::int(&worker.pod, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(30).max(0) as u64;
            kill_at = Some(tokio::time::Instant::now() + Duration::from_secs(grace));
        }
        worker.advance();
        if std::mem::take(&mut worker.due) {
            worker.report();
        }
        if worker.ending && worker.slots.iter().all(|s| !s.running()) {
            break;
        }
        let rotate = worker.shared.tokens.next(json::uid(&worker.pod)).map(|at| at.since(now()));
        tokio::select! {
            biased;
            changed = updates.changed() => {
                if changed.is_err() {
                    // Deleted by force: nothing is left to report on.
                    worker.slots.iter_mut().for_each(Slot::abort);
                    worker.shared.all_ended(json::uid(&worker.pod));
                    worker.shared.tokens.forget(json::uid(&worker.pod));
                    worker.shared.network.remove_host(ip);
                    return;
                }
                let pod = updates.borrow_and_update().clone();
                // What comes back is mostly what was reported.
                worker.due |= pod.get("status") != worker.reported.as_ref()
                    || json::deleting(&pod) != json::deleting(&worker.pod)
                    || generation(&pod) != generation(&worker.pod);
                worker.pod = pod;
                worker.join();
            }
            Some(note) = inbox.recv() => worker.handle(note),
            Ok(()) = mounts.changed() => worker.remount(),
            Ok(()) = outages.changed() => worker.meet_outages(),
            () = tokio::time::sleep_until(deadline.unwrap_or_else(tokio::time::Instant::now)), if deadline.is_some() && worker.failed.is_none() => {
                worker.give_up("DeadlineExceeded", "Pod was active on the node longer than the specified deadline".to_owned());
            }
            () = tokio::time::sleep(rotate.unwrap_or_default()), if rotate.is_some() && !worker.ending => worker.remount(),
            () = tokio::time::sleep_until(kill_at.unwrap_or_else(tokio::time::Instant::now)), if kill_at.is_some() => {
                for at in 0..worker.slots.len() {
                    if worker.slots[at].running() {
                        worker.due = true;
                        worker.end(at, &Exit { code: 137, message: String::new() }, None);
                    }
                }
            }
        }
    }
    worker.slots.iter_mut().for_each(Slot::abort);
    worker.shared.all_ended(json::uid(&worker.pod));
    worker.shared.tokens.forget(json::uid(&worker.pod));
    worker.shared.network.remove_host(ip);
    let query =
        DeleteQuery { grace_seconds: Some(0), uid: Some(json::uid(&worker.pod).to_owned()), ..DeleteQuery::default() };
    let mut engine = worker.shared.server.engine();
    if let Ok(target) = engine.target_of(&worker.pod) {
        // Already gone by force, or held by a finalizer: both are fine.
        let _ = engine.delete(&target, &query, now());
    }
}

impl Worker {
    fn policy(&self) -> &str {
        json::text(&self.pod, &["spec", "restartPolicy"])
    }

    fn node_name(&self) -> &str {
        json::text(&self.pod, &["spec", "nodeName"])
    }

    /// The time by the node's clock.
    fn time(&self) -> String {
        self.shared.outages.clock(self.node_name(), now()).rfc3339()
    }

    /// An outage began or ended: what runs may be struck at once.
    fn meet_outages(&mut self) {
        if let Some(message) = self.shared.evictions.take(json::uid(&self.pod)) {
            self.shared.record(&self.pod, "", "Warning", "Evicted", &message);
            self.give_up("Evicted", message);
        }
        let Some(doom) = self.shared.outages.doom(&self.pod) else { return };
        for at in 0..self.slots.len() {
            if self.slots[at].running() && !self.slots[at].init {
                let (exit, reason) = fate(doom);
                self.due = true;
                self.end(at, &exit, reason);
            }
        }
    }

    /// The pod has failed as a whole: everything is killed, nothing starts again.
    fn give_up(&mut self, reason: &'static str, message: String) {
        if self.failed.is_some() || self.ending {
            return;
        }
        self.failed = Some((reason, message));
        self.due = true;
        for at in 0..self.slots.len() {
            if self.slots[at].running() {
                let text = format!("Stopping container {}", self.slots[at].name());
                self.say(at, "Normal", "Killing", &text);
                self.end(at, &Exit { code: 137, message: String::new() }, None);
            }
        }
    }

    /// Records an Event about a container.
    fn say(&self, at: usize, kind: &str, reason: &str, message: &str) {
        let slot = &self.slots[at];
        self.shared.record(&self.pod, &format!("spec.{}{{{}}}", slot.list(), slot.name()), kind, reason, message);
    }

    /// Takes up the ephemeral containers that joined the pod.
    fn join(&mut self) {
        for spec in json::list(&self.pod, &["spec", "ephemeralContainers"]) {
            if !self.slots.iter().any(|slot| slot.name() == json::text(spec, &["name"])) {
                self.slots.push(Slot::ephemeral(spec));
            }
        }
    }

    /// Starts what is due, stops what must end.
    fn advance(&mut self) {
        if self.ending {
            let mains = self.slots.iter().any(|s| !s.sidecar && s.running());
            for at in 0..self.slots.len() {
                // Sidecars outlive the containers they serve.
                if self.slots[at].running()
                    && (!self.slots[at].sidecar || !mains)
                    && let Some(stop) = &self.slots[at].stop
                    && !*stop.borrow()
                {
                    stop.send_replace(true);
                    let text = format!("Stopping container {}", self.slots[at].name());
                    self.say(at, "Normal", "Killing", &text);
                }
            }
            return;
        }
        if self.failed.is_some() {
            return;
        }
        // These start whatever the init containers do: they may be there to find out.
        for at in 0..self.slots.len() {
            let slot = &self.slots[at];
            if slot.ephemeral && slot.runs == 0 && !slot.pending {
                self.schedule(at, None);
            }
        }
        for at in 0..self.slots.len() {
            let slot = &self.slots[at];
            if slot.init {
                let fresh = slot.runs == 0 && !slot.pending;
                let through = if slot.sidecar { slot.started || slot.runs > 1 } else { slot.completed() };
                if fresh {
                    self.schedule(at, None);
                }
                if !through {
                    return;
                }
            } else if slot.runs == 0 && !slot.pending {
                self.schedule(at, None);
            }
        }
    }

    /// Sends a note to this worker after a while.
    fn remind(&self, after: Duration, note: Note) {
        let notes = self.notes.clone();
        sim_clock::spawn("kubelet/start", async move {
            tokio::time::sleep(after).await;
            // A closed inbox is a pod that is gone.
            let _ = notes.send(note).await;
        });
    }

    /// Brings a container up, after a pause: its image is pulled if need be, then it starts.
    fn schedule(&mut self, at: usize, pause: Option<Duration>) {
        self.slots[at].pending = true;
        match pause.filter(|p| !p.is_zero()) {
            Some(pause) => self.remind(pause, Note::Try { slot: at }),
            None => self.pull(at),
        }
    }

    fn pull(&mut self, at: usize) {
        let image = json::text(&self.slots[at].spec, &["image"]).to_owned();
        let delay = self.shared.start_delay(&image);
        // Images that must never be pulled are taken to be on every node: whoever set the node up has put them there.
        let present = match json::text(&self.slots[at].spec, &["imagePullPolicy"]) {
            "Always" => false,
            "Never" => true,
            _ => self.shared.has_image(self.node_name(), &image),
        };
        if present {
            self.remind(delay, Note::Present { slot: at });
            return;
        }
        self.say(at, "Normal", "Pulling", &format!("Pulling image \"{image}\""));
        let took = delay + self.shared.outages.pull_delay(&image);
        self.remind(took, Note::Pulled { slot: at, took });
    }

    fn pulled(&mut self, at: usize, took: Duration) {
        let image = json::text(&self.slots[at].spec, &["image"]).to_owned();
        if let Some(error) = self.shared.outages.pull_error(&image) {
            let text = format!("failed to pull and unpack image \"{image}\": {error}");
            self.say(at, "Warning", "Failed", &format!("Failed to pull image \"{image}\": {text}"));
            self.say(at, "Warning", "Failed", "Error: ErrImagePull");
            self.slots[at].state = State::Waiting { reason: "ErrImagePull", message: text.clone() };
            self.remind(PULL_ERROR_SHOWN, Note::PullWaits { slot: at, error: text });
            return;
        }
        self.slots[at].pulls_failed = 0;
        self.shared.keep_image(self.node_name(), &image);
        let (seconds, size) = (took.as_secs_f64(), 10_000_000 + json::fnv(&image) % 90_000_000);
        let took =
            if took < Duration::from_secs(1) { format!("{}ms", took.as_millis()) } else { format!("{seconds}s") };
        let text = format!(
            "Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: {size} bytes."
        );
        self.say(at, "Normal", "Pulled", &text);
        self.start(at);
    }

    fn pull_waits(&mut self, at: usize, error: &str) {
        let image = json::text(&self.slots[at].spec, &["image"]).to_owned();
        let slot = &mut self.slots[at];
        let pause = BACK_OFF.saturating_mul(1 << slot.pulls_failed.min(16)).min(BACK_OFF_MAX);
        slot.pulls_failed += 1;
        let message = format!("Back-off pulling image \"{image}\": ErrImagePull: {error}");
        slot.state = State::Waiting { reason: "ImagePullBackOff", message };
        self.say(at, "Normal", "BackOff", &format!("Back-off pulling image \"{image}\""));
        self.say(at, "Warning", "Failed", "Error: ImagePullBackOff");
        self.remind(pause, Note::Try { slot: at });
    }

    fn start(&mut self, at: usize) {
        self.slots[at].pending = false;
        if self.ending || self.failed.is_some() || self.slots[at].running() {
            return;
        }
        let prepared = {
            let engine = self.shared.server.engine();
            // The environment may name the pod's IP.
            let mut pod = self.pod.to_content();
            pod["status"]["podIP"] = self.host.ip().to_string().into();
            pod["status"]["hostIP"] = self.node.ip().to_string().into();
            let spec = &self.slots[at].spec;
            let token = |source: &Value| self.shared.tokens.get(&self.shared.server, &engine, &pod, source);
            pod_env::environment(&engine, &pod, spec)
                .and_then(|env| pod_env::mounts(&engine, &token, &pod, spec).map(|mounted| (env, mounted)))
        };
        let (env, (places, files)) = match prepared {
            Ok(prepared) => prepared,
            Err(message) => {
                let mount = message.starts_with("MountVolume");
                let reason = if mount { "ContainerCreating" } else { "CreateContainerConfigError" };
                let event = if mount { "FailedMount" } else { "Failed" };
                let text = if mount { message.clone() } else { format!("Error: {message}") };
                self.say(at, "Warning", event, &text);
                self.slots[at].state = State::Waiting { reason, message: if mount { String::new() } else { message } };
                self.schedule(at, Some(CONFIG_RETRY));
                return;
            }
        };
        let (send, stop) = Stop::new();
        let time = self.time();
        let stdout = self.shared.logs.open(json::namespace(&self.pod), json::name(&self.pod), self.slots[at].name());
        let slot = &mut self.slots[at];
        slot.files.remount(&places, files);
        slot.mounts = places;
        slot.restarts = slot.runs;
        slot.runs += 1;
        slot.began = now();
        slot.id = super::status::digest(&format!("{}/{at}/{}", json::uid(&self.pod), slot.runs));
        slot.state = State::Running { since: time };
        slot.stop = Some(send);
        slot.stdout = Some(stdout.clone());
        let strings = |key: &str| {
            json::list(&slot.spec, &[key])
                .iter()
                .filter_map(Value::as_str)
                .map(|t| pod_env::expand(t, &env))
                .collect::<Vec<_>>()
        };
        let labels: BTreeMap<String, String> = json::map(&self.pod, &["metadata", "labels"])
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.as_str().unwrap_or("").to_owned()))
            .collect();
        let container = ContainerStart {
            namespace: json::namespace(&self.pod).to_owned(),
            pod: json::name(&self.pod).to_owned(),
            pod_uid: json::uid(&self.pod).to_owned(),
            container: slot.name().to_owned(),
            image: json::text(&slot.spec, &["image"]).to_owned(),
            node: self.node.name().to_owned(),
            labels,
            command: strings("command"),
            args: strings("args"),
            env,
            files: slot.files.clone(),
            host: self.host.clone(),
            service_account: json::text(&self.pod, &["spec", "serviceAccountName"]).to_owned(),
            stop,
            stdout: stdout.clone(),
        };
        let task_name = format!("{}/{}/{}", container.namespace, container.pod, container.container);
        let (run, name) = (slot.runs, container.container.clone());
        self.shared.runs(&container);
        let process = self.shared.runtime.start(container);
        let notes = self.notes.clone();
        let doom = self.shared.outages.doom(&self.pod).filter(|_| !self.slots[at].init);
        let task = sim_clock::spawn(&task_name, async move {
            let (exit, reason) = match doom {
                None => (process.await, None),
                Some(doom) => {
                    let lives = if doom == Doom::Memory { MEMORY_LASTS } else { CRASH_AFTER };
                    tokio::time::timeout(lives, process).await.map_or_else(|_| fate(doom), |exit| (exit, None))
                }
            };
            let _ = notes.send(Note::Exited { slot: at, run, exit, reason }).await;
        });
        self.slots[at].tasks.push(task);
        self.say(at, "Normal", "Created", &format!("Created container: {name}"));
        self.say(at, "Normal", "Started", &format!("Started container {name}"));
        if self.probe(at, Kind::Startup) {
            self.slots[at].started = false;
        } else {
            self.begun(at);
        }
    }

    /// The container counts as started: the other probes begin.
    fn begun(&mut self, at: usize) {
        self.slots[at].started = true;
        self.probe(at, Kind::Liveness);
        let asked = self.probe(at, Kind::Readiness);
        let slot = &mut self.slots[at];
        slot.ready = !asked && (slot.main() || slot.sidecar);
    }

    fn probe(&mut self, at: usize, kind: Kind) -> bool {
        let slot = &self.slots[at];
        let Some(probe) = Probe::new(kind, at, slot.runs, self.node.clone(), self.host.ip(), &self.pod, &slot.spec)
        else {
            return false;
        };
        let task = sim_clock::spawn("kubelet/probe", probe.run(self.shared.clone(), self.notes.clone()));
        self.slots[at].tasks.push(task);
        true
    }

    fn handle(&mut self, note: Note) {
        // A probe that finds what the one before it found changes nothing.
        self.due |= !matches!(note, Note::Probe { .. });
        match note {
            // A pod that is ending starts nothing any more.
            Note::Try { .. } | Note::Present { .. } | Note::Pulled { .. } | Note::PullWaits { .. }
                if self.ending || self.failed.is_some() => {}
            Note::Try { slot } => self.pull(slot),
            Note::Pulled { slot, took } => self.pulled(slot, took),
            Note::PullWaits { slot, error } => self.pull_waits(slot, &error),
            Note::Present { slot } => {
                let image = json::text(&self.slots[slot].spec, &["image"]);
                let text = format!("Container image \"{image}\" already present on machine");
                self.say(slot, "Normal", "Pulled", &text);
                self.start(slot);
            }
            Note::Exited { slot, run, exit, reason } if self.slots[slot].runs == run && self.slots[slot].running() => {
                self.end(slot, &exit, reason);
            }
            Note::Probe { slot, run, kind, failure, settled }
                if self.slots[slot].runs == run && self.slots[slot].running() =>
            {
                if let Some(text) = &failure {
                    self.say(slot, "Warning", "Unhealthy", text);
                }
                match (kind, failure.is_none(), settled) {
                    (Kind::Startup, true, true) => {
                        self.due = true;
                        self.begun(slot);
                    }
                    (Kind::Readiness, ok, true) => {
                        self.due |= self.slots[slot].ready != ok;
                        self.slots[slot].ready = ok;
                    }
                    (Kind::Startup | Kind::Liveness, false, true) => self.kill(slot, kind),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// A container that its probe gave up on: SIGTERM, then SIGKILL after the grace period.
    fn kill(&mut self, at: usize, kind: Kind) {
        let slot = &self.slots[at];
        let Some(stop) = slot.stop.as_ref().filter(|s| !*s.borrow()) else { return };
        stop.send_replace(true);
        let text =
            format!("Container {} failed {} probe, will be restarted", slot.name(), kind.title().to_ascii_lowercase());
        self.say(at, "Normal", "Killing", &text);
        let grace = json::int(&self.pod, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(30).max(0) as u64;
        let (notes, run) = (self.notes.clone(), slot.runs);
        let task = sim_clock::spawn("kubelet/grace", async move {
            tokio::time::sleep(Duration::from_secs(grace)).await;
            let exit = Exit { code: 137, message: String::new() };
            let _ = notes.send(Note::Exited { slot: at, run, exit, reason: None }).await;
        });
        self.slots[at].tasks.push(task);
    }

    fn end(&mut self, at: usize, exit: &Exit, reason: Option<&'static str>) {
        let policy = self.policy().to_owned();
        let ending = self.ending || self.failed.is_some();
        let time = self.time();
        self.shared.logs.ended(json::namespace(&self.pod), json::name(&self.pod), self.slots[at].name());
        self.shared.ended(json::uid(&self.pod), self.slots[at].name());
        let slot = &mut self.slots[at];
        slot.abort();
        let State::Running { since } = &slot.state else { return };
        let mut ended = json!({"exitCode": exit.code, "reason": reason.unwrap_or(if exit.code == 0 { "Completed" } else { "Error" }),
            "startedAt": since, "finishedAt": time, "containerID": format!("containerd://{}", slot.id)});
        let fallback = exit.code != 0 && slot.spec["terminationMessagePolicy"] == "FallbackToLogsOnError";
        let message = match &slot.stdout {
            Some(stdout) if exit.message.is_empty() && fallback => stdout.tail(FALLBACK_LINES_MAX, FALLBACK_BYTES_MAX),
            _ => exit.message.clone(),
        };
        if !message.is_empty() {
            ended["message"] = message.into();
        }
        slot.started = false;
        slot.ready = slot.init && !slot.sidecar && exit.code == 0;
        slot.state = State::Terminated(ended.clone());
        let again = if slot.sidecar {
            true
        } else if slot.init {
            exit.code != 0 && policy != "Never"
        } else if slot.ephemeral {
            false
        } else {
            policy == "Always" || (policy == "OnFailure" && exit.code != 0)
        };
        if !again || ending {
            return;
        }
        if now().since(slot.began) >= BACK_OFF_RESET {
            slot.pauses = 0;
        }
        // The first restart is at once; each one after it waits twice as long.
        let pause = match slot.pauses {
            0 => Duration::ZERO,
            n => BACK_OFF.saturating_mul(1 << (n - 1).min(16)).min(BACK_OFF_MAX),
        };
        slot.pauses += 1;
        slot.last = Some(ended);
        if !pause.is_zero() {
            let name = slot.name().to_owned();
            let pod = format!("{}_{}({})", json::name(&self.pod), json::namespace(&self.pod), json::uid(&self.pod));
            slot.state = State::Waiting {
                reason: "CrashLoopBackOff",
                message: format!("back-off {}s restarting failed container={name} pod={pod}", pause.as_secs()),
            };
            self.say(at, "Warning", "BackOff", &format!("Back-off restarting failed container {name} in pod {pod}"));
        }
        self.schedule(at, Some(pause));
    }

    fn remount(&mut self) {
        let engine = self.shared.server.engine();
        let token = |source: &Value| self.shared.tokens.get(&self.shared.server, &engine, &self.pod, source);
        for slot in self.slots.iter().filter(|s| s.running()) {
            // An object that went away keeps its last content, as on a real node.
            if let Ok((places, files)) = pod_env::mounts(&engine, &token, &self.pod, &slot.spec) {
                slot.files.remount(&places, files);
            }
        }
    }

    fn phase(&self) -> &'static str {
        if self.failed.is_some() {
            return "Failed";
        }
        let policy = self.policy();
        let failed_init = self.slots.iter().any(|s| {
            s.init && !s.sidecar && policy == "Never" && matches!(&s.state, State::Terminated(t) if t["exitCode"] != 0)
        });
        let mains: Vec<&Slot> = self.slots.iter().filter(|s| s.main()).collect();
        let ended = mains.iter().all(|s| matches!(s.state, State::Terminated(_)) && !s.pending);
        if failed_init || (ended && mains.iter().any(|s| !s.completed())) {
            if failed_init || policy != "Always" || self.ending { "Failed" } else { "Running" }
        } else if ended {
            "Succeeded"
        } else if mains.iter().all(|s| s.runs > 0) {
            "Running"
        } else {
            "Pending"
        }
    }

    /// Writes the status if it differs from what is stored.
    fn report(&mut self) {
        let mut engine = self.shared.server.engine();
        let Some(stored) = engine.peek("pods", json::namespace(&self.pod), json::name(&self.pod)).cloned() else {
            return;
        };
        if json::uid(&stored) != json::uid(&self.pod) {
            return;
        }
        let old = stored.get("status").unwrap_or(&Value::Null);
        let mut status = pod_status(
            old,
            &self.slots,
            self.phase(),
            &self.host.ip().to_string(),
            &self.node.ip().to_string(),
            &self.start_time,
            &self.time(),
        );
        if let Some((reason, message)) = &self.failed {
            status["reason"] = (*reason).into();
            status["message"] = message.clone().into();
            if *reason == "Evicted" {
                let text = message.as_str();
                set_condition(&mut status, "DisruptionTarget", true, "TerminationByKubelet", text, &self.time(), false);
            }
        }
        if let Some(generation) = json::at(&stored, &["metadata", "generation"]) {
            status["observedGeneration"] = generation.clone();
        }
        let same = status == *old;
        self.reported = Some(status.clone());
        if same {
            return;
        }
        let next = with_status(&stored, status);
        if let Ok(target) = engine.target_of(&stored) {
            let target = Target { subresource: "status".into(), ..target };
            // The lock is held since the read: nothing can have come between.
            let _ = engine.update(&target, next, &WriteOptions::by("kubelet"), now());
        }
    }
}
