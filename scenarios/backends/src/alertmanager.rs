//! A real Alertmanager, told what a run's Prometheus told ours, at the same times many times as fast.
//!
//! Its configuration is the deployed one with every timer made shorter by the same factor. Whom it tells is noted here, in the
//! run's own time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::Client;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use crate::{
    Error,
    image::Image,
    session::{Session, Setup, Started},
};

const BACKEND: &str = "alertmanager";
const CONFIGURATION: &str = "/etc/alertmanager/alertmanager.yml";
const READY: Duration = Duration::from_secs(30);
/// Largest notification that is taken.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Most notifications of one replay.
const HEARD_MAX: usize = 10_000;
/// The settings of a configuration that are times.
const TIMERS: [&str; 4] = ["group_wait", "group_interval", "repeat_interval", "resolve_timeout"];

/// One request that a run's Prometheus made: when, and the alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct Posted {
    /// Milliseconds since the Unix epoch, on the run's clock.
    pub at_ms: i64,
    /// The body: a list of alerts.
    pub body: String,
}

/// A notification as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Milliseconds since the Unix epoch, on the run's clock.
    pub at_ms: i64,
    /// The path of the request without its slash: the receiver.
    pub to: String,
    /// Alertmanager's webhook.
    pub body: Value,
}

/// A replay: what is told, to which configuration, how fast.
#[derive(Clone, Debug)]
pub struct Replay<'r> {
    /// `alertmanager.yaml` as it is deployed.
    pub configuration: &'r str,
    /// Host and port that its receivers post to.
    pub receivers: (&'r str, u16),
    /// What Prometheus said, in order.
    pub posted: &'r [Posted],
    /// When it begins and ends on the run's clock, in milliseconds since the Unix epoch.
    pub from_ms: i64,
    /// See `from_ms`.
    pub to_ms: i64,
    /// How many times as fast.
    pub speed: u32,
}

/// The configuration with shorter timers and the receivers' port replaced.
///
/// # Errors
/// Why it cannot be read.
///
/// ```
/// use scenario_backends::alertmanager::hastened;
/// let text = "route: {receiver: a, group_wait: 30s}\nreceivers: [{name: a, webhook_configs: [{url: 'http://n:80/a'}]}]";
/// let fast = hastened(text, ("n", 80), 4000, 60).unwrap();
/// assert_eq!(fast["route"]["group_wait"], "500ms");
/// assert_eq!(fast["receivers"][0]["webhook_configs"][0]["url"], "http://n:4000/a");
/// ```
pub fn hastened(configuration: &str, (host, port): (&str, u16), own_port: u16, speed: u32) -> Result<Value, String> {
    let text = configuration.replace(&format!("{host}:{port}/"), &format!("{host}:{own_port}/"));
    let mut value: Value = serde_saphyr::from_str(&text).map_err(|error| error.to_string())?;
    hasten(&mut value, speed)?;
    Ok(value)
}

fn hasten(value: &mut Value, speed: u32) -> Result<(), String> {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                match value.as_str().filter(|_| TIMERS.contains(&name.as_str())) {
                    Some(text) => {
                        let duration = scenario_language::parse_duration(text).map_err(|error| error.to_string())?;
                        *value = format!("{}ms", (duration / speed).as_millis()).into();
                    }
                    None => hasten(value, speed)?,
                }
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(|item| hasten(item, speed)),
        _ => Ok(()),
    }
}

/// A run's clock, and the real one at another speed.
#[derive(Clone, Copy, Debug)]
struct Clock {
    from_ms: i64,
    speed: u32,
    started: Instant,
    /// The real time at the start.
    real: jiff::Timestamp,
}

impl Clock {
    /// Where the run's clock stands.
    fn now_ms(self) -> i64 {
        let since = self.started.elapsed().as_millis() * u128::from(self.speed);
        self.from_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// When the run's clock stands there.
    fn instant(self, at_ms: i64) -> Instant {
        let after = u64::try_from(at_ms.saturating_sub(self.from_ms)).unwrap_or_default();
        self.started + Duration::from_millis(after) / self.speed
    }

    /// A time of the run as a time of the real Alertmanager; the first of all years stays.
    fn real(self, text: &str) -> Result<String, String> {
        let at: jiff::Timestamp = text.parse().map_err(|error: jiff::Error| format!("{text}: {error}"))?;
        if at.as_second() < 0 {
            return Ok(text.to_owned());
        }
        let after = (at.as_millisecond() - self.from_ms) / i64::from(self.speed);
        let real = self.real.checked_add(jiff::SignedDuration::from_millis(after));
        Ok(real.map_err(|error| error.to_string())?.to_string())
    }

    fn translated(self, body: &str) -> Result<String, String> {
        let mut alerts: Vec<Value> = serde_json::from_str(body).map_err(|error| error.to_string())?;
        for alert in &mut alerts {
            for name in ["startsAt", "endsAt"] {
                if let Some(text) = alert[name].as_str() {
                    alert[name] = self.real(text)?.into();
                }
            }
        }
        Ok(Value::from(alerts).to_string())
    }
}

/// Starts an Alertmanager, tells it everything, and gives whom it told.
///
/// # Errors
/// No engine or image; a start that failed; alerts that it refused.
#[allow(clippy::disallowed_methods, reason = "the real program lives in real time")]
pub async fn replay(session: &Session, image: &Image, replay: &Replay<'_>) -> Result<Vec<Heard>, Error> {
    session.available(image).await?;
    let failed = |reason: String| Error::Start { backend: BACKEND, reason };
    let listener = TcpListener::bind(("0.0.0.0", 0)).await.map_err(|error| failed(error.to_string()))?;
    let own_port = listener.local_addr().map_err(|error| failed(error.to_string()))?.port();
    let configuration =
        hastened(replay.configuration, replay.receivers, own_port, replay.speed).map_err(failed)?.to_string();
    let client = Client::builder().timeout(READY).build().map_err(|error| failed(error.to_string()))?;
    let started = start(session, image, configuration, replay.receivers.0, &client).await?;

    let clock =
        Clock { from_ms: replay.from_ms, speed: replay.speed, started: Instant::now(), real: jiff::Timestamp::now() };
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listening = tokio::spawn(listen(listener, heard.clone(), clock));
    let told = tell(&client, &started, replay, clock).await;
    listening.abort();
    told?;
    let heard = std::mem::take(&mut *heard.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(heard)
}

async fn start(
    session: &Session,
    image: &Image,
    configuration: String,
    receivers: &str,
    client: &Client,
) -> Result<Started, Error> {
    let arguments = [
        &format!("--config.file={CONFIGURATION}"),
        "--storage.path=/alertmanager",
        "--cluster.listen-address=",
        "--log.level=debug",
    ];
    let setup = Setup {
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        files: vec![(CONFIGURATION.to_owned(), configuration.into_bytes())],
        port: 9093,
        this_machine: vec![receivers.to_owned()],
    };
    let started = session.start(image, setup).await?;
    let url = format!("{}/-/ready", started.url);
    let ready = async {
        while !client.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(READY, ready).await.is_err() {
        return Err(Error::Start { backend: BACKEND, reason: format!("not ready in 30 s: {}", started.log().await) });
    }
    Ok(started)
}

/// Posts each request at its time, then waits for the end.
async fn tell(client: &Client, started: &Started, replay: &Replay<'_>, clock: Clock) -> Result<(), Error> {
    const REQUEST: &str = "/api/v2/alerts";
    let answer = |reason: String| Error::Answer { backend: BACKEND, request: REQUEST.to_owned(), reason };
    for posted in replay.posted.iter().filter(|posted| (replay.from_ms..replay.to_ms).contains(&posted.at_ms)) {
        tokio::time::sleep_until(clock.instant(posted.at_ms)).await;
        let body = clock.translated(&posted.body).map_err(answer)?;
        let request =
            client.post(format!("{}{REQUEST}", started.url)).header("Content-Type", "application/json").body(body);
        let response = request.send().await.map_err(|error| answer(error.to_string()))?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(answer(format!("{status}: {}", response.text().await.unwrap_or_default())));
        }
    }
    tokio::time::sleep_until(clock.instant(replay.to_ms)).await;
    Ok(())
}

async fn listen(listener: TcpListener, heard: Arc<Mutex<Vec<Heard>>>, clock: Clock) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(take(stream, heard.clone(), clock));
    }
}

/// Takes the notifications of one connection.
async fn take(stream: TcpStream, heard: Arc<Mutex<Vec<Heard>>>, clock: Clock) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut to, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            if !matches!(stream.read_line(&mut line).await, Ok(1..)) {
                return;
            }
            let line = line.trim_end();
            match (&to, line.split_once(':')) {
                (None, _) => to = Some(line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned()),
                (Some(_), Some((name, value))) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().unwrap_or(usize::MAX);
                }
                (Some(_), _) if line.is_empty() => break,
                _ => {}
            }
        }
        if length > BODY_BYTES_MAX {
            return;
        }
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let at_ms = clock.now_ms();
        if let (Some(to), Ok(body)) = (to, serde_json::from_slice(&body)) {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            if heard.len() < HEARD_MAX {
                heard.push(Heard { at_ms, to, body });
            }
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the real program lives in real time")]
    fn times_of_a_run_become_real_ones_nearer_together() {
        let real: jiff::Timestamp = "2026-06-01T00:00:00Z".parse().unwrap();
        let clock = Clock { from_ms: 1_770_000_000_000, speed: 60, started: Instant::now(), real };
        // Two minutes after the start, and long before it.
        assert_eq!(clock.real("2026-02-02T02:42:00.000Z").unwrap(), "2026-06-01T00:00:02Z");
        assert_eq!(clock.real("0001-01-01T00:00:00Z").unwrap(), "0001-01-01T00:00:00Z");
        assert_eq!(clock.instant(1_770_000_060_000) - clock.started, Duration::from_secs(1));
        let body = clock.translated(r#"[{"labels":{"a":"b"},"endsAt":"2026-02-02T02:41:00Z"}]"#).unwrap();
        assert!(body.contains("2026-06-01T00:00:01Z"), "{body}");
        assert!(clock.translated("{").is_err() && clock.translated(r#"[{"endsAt":"x"}]"#).is_err());
    }

    #[test]
    fn a_timer_that_is_none_is_refused() {
        assert!(hastened("route: {group_wait: soon}", ("n", 1), 2, 60).is_err());
        assert!(hastened("{", ("n", 1), 2, 60).is_err());
    }
}
