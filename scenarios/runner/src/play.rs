//! Plays a scenario in a world: brings it up, lets happen what the timeline says, looks when the judge wants to look.

use std::{sync::Arc, time::Duration};

use scenario_expectations::{BackendError, Backends, Judge, Outcome, RunClock, notification::Told};
use scenario_language::{Action, Scenario, Source, Subject, Which};
use scenario_report::{Lane, Moment};
use serde_json::Value;
use sim_clock::Timestamp;
use sim_kube::access::rbac::RuleUsage;
use sim_world::World;

use crate::{
    embedded::{Embedded, log_line},
    kube_client::KubeClient,
    moments, operator,
    project::Loaded,
    recording::Recording,
};

/// How long telemetry that is under way at the end of a run gets to arrive before references between signals are
/// judged: the operator's and the Collector's batches and one retry of each.
const FINAL_FLUSH: Duration = Duration::from_secs(20);

/// A run that was played to its end.
pub(crate) struct Played {
    pub(crate) zero: Timestamp,
    pub(crate) moments: Vec<Moment>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) recording: Option<Recording>,
    pub(crate) rule_usage: Vec<RuleUsage>,
}

/// Why a run could not be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlayError {
    #[error(transparent)]
    World(#[from] sim_world::WorldError),
    #[error("{action} at {at}: {reason}")]
    Step { action: String, at: String, reason: BackendError },
    #[error("{action} at {at}: nothing in the world is {subject}")]
    Nobody { action: String, at: String, subject: String },
    #[error("the run cannot be told: {0}")]
    Telling(#[from] BackendError),
    #[error("{0} log lines were lost for want of room: the run writes more than {max}", max = sim_world::logs::LINES_MAX)]
    LinesLost(u64),
}

/// Plays `loaded` to its end. Runs inside a world of sim-clock's.
pub(crate) async fn play(loaded: &Loaded, record: bool) -> Result<Played, PlayError> {
    let scenario = &loaded.scenario;
    let world = World::builder()
        .image(operator::IMAGE, operator::run)
        .manifests(loaded.manifests.deployed.iter().cloned())
        .start()
        .await?;
    let zero = world.ready().await?;
    let kube = {
        let api = world.cluster().api().clone();
        Arc::new(KubeClient::new(world.observer().clone(), move || api.engine().revision()))
    };
    let backends = Embedded::new(world.observer().clone(), kube.clone(), world.logs().clone());
    let mut player = Player { loaded, world, kube, moments: Vec::new() };
    let mut judge = Judge::new(scenario, zero.as_nanos());
    let mut steps = Steps::of(scenario);
    loop {
        let next = [steps.next(), judge.next()].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= scenario.duration.value) else { break };
        sleep_until(zero + next).await;
        while let Some(step) = steps.due(next) {
            player.perform(step, next).await?;
        }
        judge.look(next, &backends).await;
    }
    sleep_until(zero + scenario.duration.value + FINAL_FLUSH).await;
    let outcomes = judge.finish(&backends).await;
    let mut moments = player.moments;
    moments.extend(moments::told(&backends, zero, scenario.duration.value).await?);
    let lines = player.world.logs().lines();
    let of_receivers = lines.into_iter().filter(|line| *line.program == *sim_world::notifications::PROGRAM);
    moments.extend(moments::notifications(of_receivers.map(log_line), zero, scenario.duration.value));
    moments.sort_by_key(|moment| moment.at_ms);
    let lost = player.world.logs().lost();
    if lost > 0 {
        return Err(PlayError::LinesLost(lost));
    }
    let recording = if record {
        let metrics = backends.operator_metrics().await;
        let end = scenario.duration.value;
        let mut recording = Recording::take(&backends, zero, end, metrics, player.world.prometheus()).await?;
        let clock = RunClock { zero_ns: zero.as_nanos(), end };
        recording.told = backends.logs().await?.iter().filter_map(|line| Told::of(line, &clock)).collect();
        recording.posted = player.world.posted_alerts();
        Some(recording)
    } else {
        None
    };
    let rule_usage = player.world.cluster().api().rule_usage();
    Ok(Played { zero, moments, outcomes, recording, rule_usage })
}

async fn sleep_until(instant: Timestamp) {
    tokio::time::sleep(instant.since(sim_clock::now())).await;
}

/// One thing to do.
enum Todo<'s> {
    /// The objects that the world starts with.
    Objects,
    /// A step of the timeline.
    Step(&'s scenario_language::Step),
}

/// What is to be done, in order of time; at zero faults come before the objects, and the objects before the rest.
struct Steps<'s>(std::collections::VecDeque<(Duration, Todo<'s>)>);

impl<'s> Steps<'s> {
    fn of(scenario: &'s Scenario) -> Self {
        let mut steps: Vec<_> = scenario.timeline.iter().map(|step| (step.at.value, Todo::Step(step))).collect();
        steps.push((Duration::ZERO, Todo::Objects));
        steps.sort_by_key(|(at, todo)| {
            let turn = match todo {
                Todo::Step(step) if at.is_zero() && matches!(step.action, Action::Fault { .. }) => 0,
                Todo::Objects => 1,
                Todo::Step(_) => 2,
            };
            (*at, turn)
        });
        Self(steps.into())
    }

    fn next(&self) -> Option<Duration> {
        self.0.front().map(|(at, _)| *at)
    }

    fn due(&mut self, now: Duration) -> Option<Todo<'s>> {
        self.next().filter(|at| *at <= now)?;
        self.0.pop_front().map(|(_, todo)| todo)
    }
}

struct Player<'s> {
    loaded: &'s Loaded,
    world: World,
    kube: Arc<KubeClient>,
    moments: Vec<Moment>,
}

impl Player<'_> {
    async fn perform(&mut self, todo: Todo<'_>, at: Duration) -> Result<(), PlayError> {
        let step = match todo {
            Todo::Objects => {
                for source in &self.loaded.scenario.world.objects {
                    self.tell(at, Lane::Action, format!("apply {}", source.value.describe()));
                    self.apply(&source.value, at).await?;
                }
                return Ok(());
            }
            Todo::Step(step) => step,
        };
        let lane = match &step.action {
            Action::Fault { .. } | Action::Heal(_) => Lane::Fault,
            _ => Lane::Action,
        };
        self.tell(at, lane, step.action.describe());
        match &step.action {
            Action::Fault { name, params } => {
                // A fault without a name of its own is known by the place where it stands, so that nothing replaces it.
                let remembered =
                    step.name.as_ref().map_or_else(|| format!("line {}", step.span.line), |name| name.value.clone());
                let params: Vec<_> =
                    params.iter().map(|(name, value)| (name.value.clone(), value.value.clone())).collect();
                self.world.inject_by_name(&remembered, &name.value, &params)?;
            }
            Action::Heal(name) => self.world.heal(&name.value)?,
            Action::Apply(sources) => {
                for source in sources {
                    self.apply(&source.value, at).await?;
                }
            }
            Action::Patch { object, merge } => {
                for (namespace, name) in self.named(&object.value, step, at).await? {
                    let patched = self.kube.patch(&object.value.kind, &namespace, &name, merge).await;
                    patched.map_err(|reason| refused(&step.action, at, reason))?;
                }
            }
            Action::Delete { subject, options } => {
                for (namespace, name) in self.named(&subject.value, step, at).await? {
                    let deleted = self.kube.delete(&subject.value.kind, &namespace, &name, options.as_ref()).await;
                    deleted.map_err(|reason| refused(&step.action, at, reason))?;
                }
            }
            Action::Silence { matchers, lasts } => {
                let matchers: Vec<String> = matchers.iter().map(|matcher| matcher.value.clone()).collect();
                let made = crate::silence::make(self.world.observer(), &matchers, *lasts).await;
                made.map_err(|reason| refused(&step.action, at, reason))?;
            }
        }
        Ok(())
    }

    async fn apply(&self, source: &Source, at: Duration) -> Result<(), PlayError> {
        for object in self.loaded.manifests.of(&self.loaded.scenario.file, source) {
            self.kube.apply(&object).await.map_err(|reason| PlayError::Step {
                action: format!("apply {}", source.describe()),
                at: scenario_language::format_duration(at),
                reason,
            })?;
        }
        Ok(())
    }

    /// Namespace and name of each object that a subject stands for; at least one.
    async fn named(
        &self,
        subject: &Subject,
        step: &scenario_language::Step,
        at: Duration,
    ) -> Result<Vec<(String, String)>, PlayError> {
        if let Which::Named { namespace, name } = &subject.which {
            return Ok(vec![(namespace.clone(), name.clone())]);
        }
        let objects = self.kube.list(&subject.kind, None).await.map_err(|reason| refused(&step.action, at, reason))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let named: Vec<_> = objects
            .iter()
            .filter(|object| subject.matches(object))
            .map(|object| (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"])))
            .collect();
        if named.is_empty() {
            return Err(PlayError::Nobody {
                action: step.action.describe(),
                at: scenario_language::format_duration(at),
                subject: subject.to_string(),
            });
        }
        Ok(named)
    }

    fn tell(&mut self, at: Duration, lane: Lane, text: String) {
        self.moments.push(Moment { at_ms: at.as_millis() as i64, lane, text });
    }
}

fn refused(action: &Action, at: Duration, reason: BackendError) -> PlayError {
    PlayError::Step { action: action.describe(), at: scenario_language::format_duration(at), reason }
}
