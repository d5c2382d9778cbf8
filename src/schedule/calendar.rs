//! When something is due: cron expressions in a time zone, and windows in which nothing starts. Pure.
//!
//! Daylight saving: a fixed time within the hour that does not exist comes at the hour's end, one within the hour that exists
//! twice comes the first time only; what recurs within a day (`0 * * * *`) follows the clock on the wall in both.

use std::time::Duration;

use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::seed::fnv;

/// The moments of one cron expression.
#[derive(Debug, Clone)]
pub struct Calendar {
    text: String,
    cron: croner::Cron,
    zone: TimeZone,
    jitter: Duration,
    /// Whose jitter.
    name: String,
}

impl Calendar {
    /// # Errors
    /// What is wrong with the expression, or that it never comes.
    pub fn new(text: &str, zone: TimeZone, jitter: Duration, name: &str) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|e| e.to_string())?;
        let calendar = Self { text: text.to_owned(), cron, zone, jitter, name: name.to_owned() };
        match calendar.after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(calendar),
            None => Err("it never comes".to_owned()),
        }
    }

    /// The expression and its time zone; another text means other moments.
    pub fn text(&self) -> String {
        format!("{} {}", self.text, self.zone_name())
    }

    pub fn cron(&self) -> &croner::Cron {
        &self.cron
    }

    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first moment after this one.
    pub fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        self.cron.find_next_occurrence(&moment.to_zoned(self.zone.clone()), false).ok().map(|zoned: Zoned| zoned.timestamp())
    }

    /// The last moment at or before this one.
    pub fn before(&self, moment: Timestamp) -> Option<Timestamp> {
        self.cron.find_previous_occurrence(&moment.to_zoned(self.zone.clone()), true).ok().map(|zoned: Zoned| zoned.timestamp())
    }

    /// The moments after the first and up to the second.
    pub fn between(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
        std::iter::successors(self.after(after), |last| self.after(*last)).take_while(move |moment| *moment <= until)
    }

    /// When the run of a moment starts: the same after a restart, and another one at each moment.
    pub fn start_of(&self, due: Timestamp) -> Timestamp {
        let most = self.jitter.as_millis() as u64;
        let by = if most == 0 { 0 } else { fnv(format!("{}/{}", self.name, due.as_millisecond()).as_bytes()) % (most + 1) };
        due.saturating_add(SignedDuration::from_millis(by as i64)).unwrap_or(due)
    }
}

/// A time in which nothing is started.
#[derive(Debug, Clone)]
pub struct Window {
    pub name: String,
    when: When,
}

#[derive(Debug, Clone)]
enum When {
    Once(Timestamp, Timestamp),
    Recurring(Box<Calendar>, SignedDuration),
}

impl Window {
    pub fn once(name: String, from: Timestamp, until: Timestamp) -> Self {
        Self { name, when: When::Once(from, until) }
    }

    pub fn recurring(name: String, calendar: Calendar, lasts: Duration) -> Self {
        let lasts = SignedDuration::try_from(lasts).unwrap_or(SignedDuration::MAX);
        Self { name, when: When::Recurring(Box::new(calendar), lasts) }
    }

    /// The end of the window that is open at this moment. The end itself is outside.
    pub fn end_at(&self, now: Timestamp) -> Option<Timestamp> {
        let end = match &self.when {
            When::Once(from, until) => (*from <= now).then_some(*until)?,
            When::Recurring(calendar, lasts) => calendar.before(now)?.saturating_add(*lasts).ok()?,
        };
        (now < end).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(cron: &str, zone: &str) -> Calendar {
        Calendar::new(cron, TimeZone::get(zone).unwrap(), Duration::ZERO, "x").unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn all(cron: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
        calendar(cron, zone).between(at(from), at(until)).map(|t| t.to_string()).collect()
    }

    /// In Berlin 02:30 did not exist on 29 March 2026, and existed twice on 25 October.
    #[test]
    fn daylight_saving_neither_loses_nor_doubles_a_nightly_run() {
        let spring = all("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z");
        assert_eq!(spring, ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        let autumn = all("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", "2026-10-27T00:00:00Z");
        assert_eq!(autumn, ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn what_comes_every_hour_comes_every_hour_of_the_day_of_25_hours() {
        assert_eq!(all("0 * * * *", "Europe/Berlin", "2026-10-24T21:59:00Z", "2026-10-25T22:59:00Z").len(), 25);
        assert_eq!(all("0 * * * *", "Europe/Berlin", "2026-03-28T22:59:00Z", "2026-03-29T21:59:00Z").len(), 23);
    }

    #[test]
    fn jitter_is_bounded_and_the_same_after_a_restart() {
        let with = || Calendar::new("0 3 * * *", TimeZone::UTC, Duration::from_secs(600), "a").unwrap();
        let starts: Vec<Timestamp> =
            with().between(at("2026-01-01T00:00:00Z"), at("2026-03-01T00:00:00Z")).map(|due| with().start_of(due)).collect();
        assert!(starts.iter().all(|s| (3 * 3600..=3 * 3600 + 600).contains(&(s.as_second() % 86_400))));
        let distinct: std::collections::HashSet<_> = starts.iter().map(|s| s.as_millisecond() % 86_400_000).collect();
        assert!(distinct.len() > 50, "{}", distinct.len());
        assert_eq!(
            starts,
            with()
                .between(at("2026-01-01T00:00:00Z"), at("2026-03-01T00:00:00Z"))
                .map(|d| with().start_of(d))
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn windows_end() {
        let nights = Window::recurring("work".into(), calendar("0 8 * * MON-FRI", "UTC"), Duration::from_secs(10 * 3600));
        assert_eq!(nights.end_at(at("2026-11-24T12:00:00Z")), Some(at("2026-11-24T18:00:00Z")));
        for outside in ["2026-11-24T07:59:59Z", "2026-11-24T18:00:00Z", "2026-11-22T12:00:00Z"] {
            assert_eq!(nights.end_at(at(outside)), None, "{outside}");
        }
    }

    #[test]
    fn what_never_comes_is_refused() {
        for wrong in ["0 0 30 2 *", "61 * * * *", "* * * *", "0 0 0 3 * * 2027", "@reboot", ""] {
            assert!(Calendar::new(wrong, TimeZone::UTC, Duration::ZERO, "").is_err(), "{wrong}");
        }
    }
}
