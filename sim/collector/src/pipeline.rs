//! The pipelines as an engine: no clock, no network. Every item that is accepted is accounted for ([`Collector::accounting`]).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sim_clock::{Chance, Engine, Timestamp};

use crate::config::{
    ActionKind, AttributeAction, BatchSettings, Config, Exporter, Processor, QueueSettings, RetrySettings,
};
use crate::data::{Data, Signal};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value};

/// What happens to the engine.
#[derive(Debug)]
pub enum Input {
    /// A request came in at this receiver; [`Effect::Answer`] says how to answer it.
    Received {
        /// Its name.
        receiver: String,
        /// How the request came: `http` or `grpc`.
        transport: &'static str,
        /// The request.
        data: Data,
    },
    /// The instant that [`Collector::next_wake`] named has come.
    Tick,
    /// An [`Effect::Export`] has ended.
    Exported {
        /// The number from the effect.
        attempt: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// The process ends: batches are sent on, what is queued is lost.
    Shutdown,
}

/// How an attempt to send ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other side took it, perhaps not all of it.
    Success {
        /// Items it did not take (OTLP partial success).
        rejected: u64,
        /// Its reason.
        message: String,
    },
    /// Worth another try.
    Retryable {
        /// How long the other side wants to be left alone.
        after: Option<Duration>,
        /// The reason.
        message: String,
    },
    /// Not worth another try.
    Permanent {
        /// The reason.
        message: String,
    },
}

/// What the world must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Answer the request: taken, or refused for now with this message.
    Answer(Result<(), String>),
    /// Send this and report with [`Input::Exported`].
    Export {
        /// The exporter's name.
        exporter: String,
        /// The attempt's number.
        attempt: u64,
        /// What to send.
        data: Data,
    },
    /// A line for the Collector's log.
    Log(LogLine),
}

/// A line of the Collector's own log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// `info`, `warn`, `error`
    pub level: &'static str,
    /// The text.
    pub message: String,
    /// The component, such as `otlphttp/tempo`.
    pub component: String,
    /// More fields.
    pub fields: Vec<(&'static str, serde_json::Value)>,
}

/// Why items were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// The queue was full.
    QueueFull,
    /// The other side will never take it.
    Permanent,
    /// It was tried for long enough.
    RetriesExhausted,
    /// The process ended.
    Shutdown,
}

/// One exporter's books, in items of one signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Handed to the exporter by pipelines.
    pub offered: u64,
    /// Sent (of which `rejected` were not taken by the other side).
    pub sent: u64,
    /// Sent and not taken.
    pub rejected: u64,
    /// Dropped, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Waiting in the queue.
    pub queued: u64,
    /// With a consumer: being sent or waiting for the next try.
    pub sending: u64,
}

/// The books of the whole Collector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounting {
    /// Items accepted by a pipeline's entrance, by pipeline.
    pub accepted: BTreeMap<String, u64>,
    /// Items held by `batch` processors, by pipeline.
    pub batched: BTreeMap<String, u64>,
    /// Items that left a pipeline's processors, by pipeline.
    pub forwarded: BTreeMap<String, u64>,
    /// The exporters, by name and signal.
    pub exporters: BTreeMap<(String, Signal), Ledger>,
    /// For each exporter and signal what pipelines say they gave it.
    pub offered: BTreeMap<(String, Signal), u64>,
}

impl Accounting {
    /// The first book that does not balance, if one does not.
    pub fn imbalance(&self) -> Option<String> {
        for (pipeline, accepted) in &self.accepted {
            let at = |map: &BTreeMap<String, u64>| map.get(pipeline).copied().unwrap_or(0);
            let sum = at(&self.batched) + at(&self.forwarded);
            if *accepted != sum {
                return Some(format!("pipeline {pipeline}: accepted {accepted}, batched + forwarded {sum}"));
            }
        }
        for ((name, signal), ledger) in &self.exporters {
            let sum = ledger.sent + ledger.dropped.values().sum::<u64>() + ledger.queued + ledger.sending;
            let offered = self.offered.get(&(name.clone(), *signal)).copied().unwrap_or(0);
            if ledger.offered != sum || ledger.offered != offered {
                return Some(format!(
                    "exporter {name} ({}): pipelines gave {offered}, offered {}, accounted for {sum}",
                    signal.text(),
                    ledger.offered
                ));
            }
        }
        None
    }
}

/// A counter of a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverCounts {
    /// Items taken.
    pub accepted: u64,
    /// Items refused.
    pub refused: u64,
}

struct Item {
    data: Data,
    items: u64,
    bytes: usize,
    first_try: Option<Timestamp>,
    interval: Duration,
}

struct Queue {
    queue: QueueSettings,
    retry: RetrySettings,
    waiting: VecDeque<Item>,
    /// Waiting for the next try, by its instant; each holds a consumer.
    backing_off: BTreeMap<(Timestamp, u64), Item>,
}

struct Pipeline {
    name: String,
    signal: Signal,
    receivers: Vec<String>,
    processors: Vec<(String, Processor)>,
    exporters: Vec<String>,
    /// For each processor that is a `batch`: what it holds, and until when.
    batches: BTreeMap<usize, (Data, u64, usize, Timestamp)>,
}

/// All pipelines of a configuration.
pub struct Collector {
    pipelines: Vec<Pipeline>,
    queues: BTreeMap<String, Queue>,
    simple: BTreeMap<String, Exporter>,
    in_flight: BTreeMap<u64, (String, Item)>,
    attempts: u64,
    receivers: BTreeMap<(String, &'static str, Signal), ReceiverCounts>,
    accounting: Accounting,
    held_bytes: usize,
    chance: Chance,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("accounting", &self.accounting).finish_non_exhaustive()
    }
}

impl Collector {
    /// The pipelines of `config`; `chance` spreads the retries.
    pub fn new(config: &Config, chance: Chance) -> Self {
        let mut queues = BTreeMap::new();
        let mut simple = BTreeMap::new();
        for (name, exporter) in &config.exporters {
            match exporter {
                Exporter::OtlpHttp(settings) => {
                    let (queue, retry) = (settings.sending_queue.clone(), settings.retry_on_failure.clone());
                    queues.insert(
                        name.clone(),
                        Queue { queue, retry, waiting: VecDeque::new(), backing_off: BTreeMap::new() },
                    );
                }
                other => {
                    simple.insert(name.clone(), other.clone());
                }
            }
        }
        let pipelines = config.pipelines.iter().map(|pipeline| Pipeline {
            name: pipeline.name.clone(),
            signal: pipeline.signal,
            receivers: pipeline.receivers.clone(),
            processors: pipeline
                .processors
                .iter()
                .filter_map(|name| config.processors.get(name).map(|processor| (name.clone(), processor.clone())))
                .collect(),
            exporters: pipeline.exporters.clone(),
            batches: BTreeMap::new(),
        });
        Collector {
            pipelines: pipelines.collect(),
            queues,
            simple,
            in_flight: BTreeMap::new(),
            attempts: 0,
            receivers: BTreeMap::new(),
            accounting: Accounting::default(),
            held_bytes: 0,
            chance,
        }
    }

    /// Whether a receiver feeds a pipeline of this signal; otherwise its OTLP/HTTP path does not exist.
    pub fn takes(&self, receiver: &str, signal: Signal) -> bool {
        self.pipelines
            .iter()
            .any(|pipeline| pipeline.signal == signal && pipeline.receivers.iter().any(|name| name == receiver))
    }

    /// The next instant at which [`Input::Tick`] is due.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let batches = self.pipelines.iter().flat_map(|pipeline| pipeline.batches.values().map(|(_, _, _, due)| *due));
        let retries = self.queues.values().filter_map(|queue| queue.backing_off.keys().next().map(|(due, _)| *due));
        batches.chain(retries).min()
    }

    /// The books.
    pub fn accounting(&self) -> &Accounting {
        &self.accounting
    }

    /// Receivers by name and signal.
    pub fn receivers(&self) -> &BTreeMap<(String, &'static str, Signal), ReceiverCounts> {
        &self.receivers
    }

    /// For each exporter with a queue the requests that wait in it and its capacity.
    pub fn queues(&self) -> impl Iterator<Item = (&str, usize, usize)> {
        self.queues.iter().map(|(name, queue)| (name.as_str(), queue.waiting.len(), queue.queue.queue_size))
    }

    fn received(
        &mut self,
        now: Timestamp,
        receiver: &str,
        transport: &'static str,
        data: &Data,
        effects: &mut Vec<Effect>,
    ) {
        let (signal, items) = (data.signal(), data.items());
        let matching: Vec<usize> = (0..self.pipelines.len())
            .filter(|&i| {
                self.pipelines[i].signal == signal && self.pipelines[i].receivers.iter().any(|name| name == receiver)
            })
            .collect();
        let mut answer = Ok(());
        for pipeline in matching {
            if let Err(message) = self.enter(now, pipeline, data.clone(), items, effects) {
                answer = Err(message);
            }
        }
        let counts = self.receivers.entry((receiver.to_owned(), transport, signal)).or_default();
        if answer.is_ok() {
            counts.accepted += items;
        } else {
            counts.refused += items;
        }
        effects.push(Effect::Answer(answer));
    }

    /// The entrance of a pipeline. A `memory_limiter` refuses before anything is accepted; behind a `batch` the sender
    /// does not learn any more what becomes of its data.
    fn enter(
        &mut self,
        now: Timestamp,
        pipeline: usize,
        data: Data,
        items: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), String> {
        let limit = self.pipelines[pipeline].processors.iter().find_map(|(_, processor)| match processor {
            Processor::MemoryLimiter(settings) => Some(settings.soft_limit_bytes()),
            _ => None,
        });
        if limit.is_some_and(|limit| self.held_bytes as u64 > limit) {
            return Err("data refused due to high memory usage".into());
        }
        *self.accounting.accepted.entry(self.pipelines[pipeline].name.clone()).or_default() += items;
        self.process(now, pipeline, 0, data, effects)
    }

    /// From the processor `from` on.
    fn process(
        &mut self,
        now: Timestamp,
        index: usize,
        from: usize,
        mut data: Data,
        effects: &mut Vec<Effect>,
    ) -> Result<(), String> {
        for at in from..self.pipelines[index].processors.len() {
            let pipeline = &mut self.pipelines[index];
            match &pipeline.processors[at].1 {
                Processor::MemoryLimiter(_) => {}
                Processor::Resource(actions) => data.each_resource(&mut |attributes| apply(actions, attributes)),
                Processor::Attributes(actions) => data.each_item(&mut |attributes| apply(actions, attributes)),
                Processor::Batch(settings) => {
                    let settings = settings.clone();
                    self.batch(now, index, at, &settings, data, effects);
                    return Ok(());
                }
            }
        }
        self.forward(now, index, data, effects)
    }

    fn batch(
        &mut self,
        now: Timestamp,
        index: usize,
        at: usize,
        settings: &BatchSettings,
        data: Data,
        effects: &mut Vec<Effect>,
    ) {
        let (items, bytes) = (data.items(), data.bytes());
        let pipeline = &mut self.pipelines[index];
        *self.accounting.batched.entry(pipeline.name.clone()).or_default() += items;
        self.held_bytes += bytes;
        let full = match pipeline.batches.get_mut(&at) {
            Some((held, count, size, _)) => {
                // A pipeline has one signal, so nothing can come back.
                let _ = held.append(data);
                *count += items;
                *size += bytes;
                *count >= settings.send_batch_size
            }
            None => {
                pipeline.batches.insert(at, (data, items, bytes, now + settings.timeout.0));
                items >= settings.send_batch_size
            }
        };
        if full || settings.timeout.0.is_zero() {
            self.flush(now, index, at, effects);
        }
    }

    fn flush(&mut self, now: Timestamp, index: usize, at: usize, effects: &mut Vec<Effect>) {
        let Some((data, items, bytes, _)) = self.pipelines[index].batches.remove(&at) else {
            return;
        };
        let name = self.pipelines[index].name.clone();
        self.held_bytes -= bytes;
        if let Some(batched) = self.accounting.batched.get_mut(&name) {
            *batched -= items;
        }
        if let Err(message) = self.process(now, index, at + 1, data, effects) {
            effects.push(log("warn", "Sender failed", "batch", vec![("error", message.into())]));
        }
    }

    /// To every exporter of the pipeline.
    fn forward(&mut self, now: Timestamp, index: usize, data: Data, effects: &mut Vec<Effect>) -> Result<(), String> {
        let (signal, items, bytes) = (data.signal(), data.items(), data.bytes());
        let pipeline = &self.pipelines[index];
        *self.accounting.forwarded.entry(pipeline.name.clone()).or_default() += items;
        let mut result = Ok(());
        for exporter in pipeline.exporters.clone() {
            let key = (exporter.clone(), signal);
            *self.accounting.offered.entry(key.clone()).or_default() += items;
            let ledger = self.accounting.exporters.entry(key).or_default();
            ledger.offered += items;
            if let Some(simple) = self.simple.get(&exporter) {
                ledger.sent += items;
                if matches!(simple, Exporter::Debug) {
                    let message = match signal {
                        Signal::Traces => "Traces",
                        Signal::Metrics => "Metrics",
                        Signal::Logs => "Logs",
                    };
                    effects.push(log("info", message, &exporter, vec![("items", items.into())]));
                }
                continue;
            }
            let Some(queue) = self.queues.get_mut(&exporter) else {
                continue;
            };
            if queue.waiting.len() >= queue.queue.queue_size {
                *ledger.dropped.entry(DropReason::QueueFull).or_default() += items;
                let fields = vec![("error", "sending queue is full".into()), ("rejected_items", items.into())];
                effects.push(log("error", "Exporting failed. Rejecting data.", &exporter, fields));
                result = Err("sending queue is full".into());
                continue;
            }
            ledger.queued += items;
            self.held_bytes += bytes;
            let interval = queue.retry.initial_interval.0;
            queue.waiting.push_back(Item { data: data.clone(), items, bytes, first_try: None, interval });
            self.start_sending(now, &exporter, effects);
        }
        result
    }

    /// Gives waiting requests to idle consumers.
    fn start_sending(&mut self, now: Timestamp, exporter: &str, effects: &mut Vec<Effect>) {
        let flying = self.in_flight.values().filter(|(name, _)| name == exporter).count();
        let Some(queue) = self.queues.get_mut(exporter) else {
            return;
        };
        let busy = flying + queue.backing_off.len();
        for _ in busy..queue.queue.num_consumers {
            let Some(item) = queue.waiting.pop_front() else {
                return;
            };
            let ledger = self.accounting.exporters.entry((exporter.to_owned(), item.data.signal())).or_default();
            ledger.queued -= item.items;
            ledger.sending += item.items;
            attempt(&mut self.attempts, &mut self.in_flight, now, exporter, item, effects);
        }
    }

    fn exported(&mut self, now: Timestamp, number: u64, outcome: Outcome, effects: &mut Vec<Effect>) {
        let Some((exporter, item)) = self.in_flight.remove(&number) else {
            return;
        };
        match outcome {
            Outcome::Success { rejected, message } => {
                let ledger = self.accounting.exporters.entry((exporter.clone(), item.data.signal())).or_default();
                ledger.sending -= item.items;
                ledger.sent += item.items;
                ledger.rejected += rejected.min(item.items);
                self.held_bytes -= item.bytes;
                if rejected > 0 || !message.is_empty() {
                    let fields = vec![("message", message.into()), ("dropped_items", rejected.into())];
                    effects.push(log("warn", "Partial success response", &exporter, fields));
                }
            }
            Outcome::Permanent { message } => {
                let error = format!("not retryable error: Permanent error: {message}");
                self.give_up(&exporter, item, DropReason::Permanent, error, effects);
            }
            Outcome::Retryable { after, message } => self.retry(now, &exporter, item, after, message, effects),
        }
        self.start_sending(now, &exporter, effects);
    }

    /// Exponential backoff with a random share, as the Collector's retry sender does it.
    fn retry(
        &mut self,
        now: Timestamp,
        exporter: &str,
        mut item: Item,
        after: Option<Duration>,
        message: String,
        effects: &mut Vec<Effect>,
    ) {
        let Some(queue) = self.queues.get_mut(exporter) else {
            return;
        };
        let settings = &queue.retry;
        if !settings.enabled {
            self.give_up(exporter, item, DropReason::RetriesExhausted, message, effects);
            return;
        }
        let spread = settings.randomization_factor * (2.0 * self.chance.f64() - 1.0);
        let delay = item.interval.mul_f64((1.0 + spread).max(0.0)).max(after.unwrap_or_default());
        let longest = settings.max_interval.0;
        item.interval = Duration::try_from_secs_f64(item.interval.as_secs_f64() * settings.multiplier)
            .map_or(longest, |next| next.min(longest));
        let elapsed = now.since(item.first_try.unwrap_or(now));
        let limit = settings.max_elapsed_time.0;
        if !limit.is_zero() && elapsed + delay > limit {
            self.give_up(
                exporter,
                item,
                DropReason::RetriesExhausted,
                format!("no more retries left: {message}"),
                effects,
            );
            return;
        }
        let fields = vec![("error", message.into()), ("interval", format!("{delay:?}").into())];
        effects.push(log("info", "Exporting failed. Will retry the request after interval.", exporter, fields));
        self.attempts += 1;
        queue.backing_off.insert((now + delay, self.attempts), item);
    }

    fn give_up(&mut self, exporter: &str, item: Item, reason: DropReason, error: String, effects: &mut Vec<Effect>) {
        let ledger = self.accounting.exporters.entry((exporter.to_owned(), item.data.signal())).or_default();
        ledger.sending -= item.items;
        *ledger.dropped.entry(reason).or_default() += item.items;
        self.held_bytes -= item.bytes;
        let fields = vec![("error", error.into()), ("dropped_items", item.items.into())];
        effects.push(log("error", "Exporting failed. Dropping data.", exporter, fields));
    }

    fn tick(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for index in 0..self.pipelines.len() {
            let due: Vec<usize> = self.pipelines[index]
                .batches
                .iter()
                .filter(|(_, (_, _, _, due))| *due <= now)
                .map(|(at, _)| *at)
                .collect();
            for at in due {
                self.flush(now, index, at, effects);
            }
        }
        for (exporter, queue) in &mut self.queues {
            while let Some(entry) = queue.backing_off.first_entry().filter(|entry| entry.key().0 <= now) {
                attempt(&mut self.attempts, &mut self.in_flight, now, exporter, entry.remove(), effects);
            }
        }
    }

    /// Batches are passed on; what is queued or under way is lost, since the queue is in memory.
    fn shutdown(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for index in 0..self.pipelines.len() {
            let held: Vec<usize> = self.pipelines[index].batches.keys().copied().collect();
            for at in held {
                self.flush(now, index, at, effects);
            }
        }
        effects.retain(|effect| !matches!(effect, Effect::Export { .. }));
        let flying = std::mem::take(&mut self.in_flight).into_values();
        let mut lost: Vec<(String, Item, bool)> = flying.map(|(exporter, item)| (exporter, item, true)).collect();
        for (exporter, queue) in &mut self.queues {
            lost.extend(
                std::mem::take(&mut queue.backing_off).into_values().map(|item| (exporter.clone(), item, true)),
            );
            lost.extend(queue.waiting.drain(..).map(|item| (exporter.clone(), item, false)));
        }
        for (exporter, item, sending) in lost {
            let ledger = self.accounting.exporters.entry((exporter, item.data.signal())).or_default();
            if sending {
                ledger.sending -= item.items;
            } else {
                ledger.queued -= item.items;
            }
            *ledger.dropped.entry(DropReason::Shutdown).or_default() += item.items;
            self.held_bytes -= item.bytes;
        }
    }
}

fn attempt(
    attempts: &mut u64,
    in_flight: &mut BTreeMap<u64, (String, Item)>,
    now: Timestamp,
    exporter: &str,
    mut item: Item,
    effects: &mut Vec<Effect>,
) {
    *attempts += 1;
    item.first_try.get_or_insert(now);
    effects.push(Effect::Export { exporter: exporter.to_owned(), attempt: *attempts, data: item.data.clone() });
    in_flight.insert(*attempts, (exporter.to_owned(), item));
}

impl Engine for Collector {
    type Input = Input;
    type Effect = Effect;

    fn step(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Received { receiver, transport, data } => {
                self.received(now, &receiver, transport, &data, &mut effects);
            }
            Input::Tick => self.tick(now, &mut effects),
            Input::Exported { attempt, outcome } => self.exported(now, attempt, outcome, &mut effects),
            Input::Shutdown => self.shutdown(now, &mut effects),
        }
        effects
    }
}

fn log(level: &'static str, message: &str, component: &str, fields: Vec<(&'static str, serde_json::Value)>) -> Effect {
    Effect::Log(LogLine { level, message: message.to_owned(), component: component.to_owned(), fields })
}

/// The actions of an `attributes` or `resource` processor, in order.
fn apply(actions: &[AttributeAction], attributes: &mut Vec<KeyValue>) {
    for action in actions {
        let at = attributes.iter().position(|kv| kv.key == action.key);
        if action.action == ActionKind::Delete {
            attributes.retain(|kv| kv.key != action.key);
            continue;
        }
        let value = match (&action.value, &action.from_attribute) {
            (Some(value), _) => Some(any_value_of(value)),
            (None, Some(from)) => attributes.iter().find(|kv| kv.key == *from).and_then(|kv| kv.value.clone()),
            (None, None) => None,
        };
        let Some(value) = value else {
            continue;
        };
        match (action.action, at) {
            (ActionKind::Update | ActionKind::Upsert, Some(at)) => attributes[at].value = Some(value),
            (ActionKind::Insert | ActionKind::Upsert, None) => {
                attributes.push(KeyValue { key: action.key.clone(), value: Some(value), ..KeyValue::default() });
            }
            _ => {}
        }
    }
}

fn any_value_of(value: &serde_json::Value) -> AnyValue {
    use serde_json::Value;
    let value =
        match value {
            Value::Null => None,
            Value::Bool(b) => Some(any_value::Value::BoolValue(*b)),
            Value::Number(n) => Some(n.as_i64().map_or_else(
                || any_value::Value::DoubleValue(n.as_f64().unwrap_or_default()),
                any_value::Value::IntValue,
            )),
            Value::String(s) => Some(any_value::Value::StringValue(s.clone())),
            Value::Array(values) => {
                Some(any_value::Value::ArrayValue(ArrayValue { values: values.iter().map(any_value_of).collect() }))
            }
            Value::Object(map) => {
                let values = map.iter().map(|(key, value)| KeyValue {
                    key: key.clone(),
                    value: Some(any_value_of(value)),
                    ..KeyValue::default()
                });
                Some(any_value::Value::KvlistValue(KeyValueList { values: values.collect() }))
            }
        };
    AnyValue { value }
}

#[cfg(test)]
mod tests;
