//! How a node's proxies are, for its record: since when they can't be given what they should have, or do not run.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::records::Failing;

/// A proxy that starts anew, or is reloaded, is away for less.
pub(super) const DOWN: Duration = Duration::from_secs(10);

/// What one apply came to.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Why something could not be put in place.
    pub(super) failed: Option<String>,
    /// HAProxy has been told all.
    pub(super) is_routed: bool,
    pub(super) haproxy_is_down: bool,
    pub(super) caddy_is_down: bool,
}

/// Remembers since when.
#[derive(Debug, Default)]
pub(super) struct Health {
    failing: Since,
    haproxy: Since,
    caddy: Since,
    /// When it was last looked for what keeps HAProxy away.
    looked: Option<Instant>,
}

/// A trouble's beginning.
#[derive(Debug, Default)]
struct Since(Option<(Instant, String)>);

impl Since {
    fn note(&mut self, is_so: bool, now: Instant) {
        match is_so {
            false => self.0 = None,
            true if self.0.is_none() => {
                let at = clock::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                self.0 = Some((now, at));
            }
            true => {}
        }
    }

    /// When it began, if it has lasted for so long.
    fn lasts(&self, least: Duration, now: Instant) -> Option<&str> {
        let (began, at) = self.0.as_ref()?;
        (now.duration_since(*began) >= least).then_some(at)
    }
}

impl Health {
    /// Notes what one apply came to.
    pub(super) fn note(&mut self, seen: &Seen, now: Instant) {
        self.failing.note(seen.failed.is_some(), now);
        // One that Docker starts again and again may be met while it tries: it is back when it listens to all.
        let was_away = self.haproxy.0.is_some();
        self.haproxy.note(seen.haproxy_is_down || (was_away && !seen.is_routed), now);
        self.caddy.note(seen.caddy_is_down, now);
    }

    /// Whether it is time to look for what keeps HAProxy away: once it has been so for longer than a start takes, and again
    /// after as long.
    pub(super) fn is_to_be_looked_for(&mut self, now: Instant) -> bool {
        let is_away = self.haproxy.lasts(DOWN, now).is_some();
        let is_due = self.looked.is_none_or(|looked| now.duration_since(looked) >= DOWN);
        if is_away && is_due {
            self.looked = Some(now);
        }
        is_away && is_due
    }

    /// What the node says of its proxies: the worst first.
    pub(super) fn tell(&self, seen: &Seen, now: Instant) -> Option<Failing> {
        let failing = |since: &str, why: String| Some(Failing { since: since.to_owned(), why });
        if let Some(since) = self.haproxy.lasts(DOWN, now) {
            let why = seen.failed.as_ref().map_or(String::new(), |why| format!(" ({why})"));
            return failing(since, format!("HAProxy does not run: no app is served here{why}"));
        }
        if let (Some(since), Some(why)) = (self.failing.lasts(Duration::ZERO, now), &seen.failed) {
            return failing(since, why.clone());
        }
        let since = self.caddy.lasts(DOWN, now)?;
        failing(
            since,
            "Caddy does not run: the apps whose master is here are not served".to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(health: &mut Health, seen: &Seen, now: Instant) -> Option<String> {
        health.note(seen, now);
        health.tell(seen, now).map(|failing| failing.why)
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_at_once_and_a_proxy_that_is_away_when_it_stays_away() {
        let (mut health, start) = (Health::default(), Instant::now());
        let fine = Seen { is_routed: true, ..Seen::default() };
        let failed = Seen { failed: Some("full".into()), ..Seen::default() };
        let down = Seen { haproxy_is_down: true, ..Seen::default() };
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(told(&mut health, &fine, start), None);
        assert_eq!(told(&mut health, &failed, at(1)).as_deref(), Some("full"));
        assert_eq!(told(&mut health, &fine, at(2)), None);
        assert_eq!(told(&mut health, &down, at(3)), None);
        assert_eq!(
            told(&mut health, &failed, at(12)).as_deref(),
            Some("full"),
            "met while it tries"
        );
        assert!(told(&mut health, &down, at(13)).unwrap().starts_with("HAProxy does not run"));
        assert!(health.is_to_be_looked_for(at(13)) && !health.is_to_be_looked_for(at(22)));
        assert!(health.is_to_be_looked_for(at(23)));
        assert_eq!(told(&mut health, &fine, at(14)), None);
        assert_eq!(told(&mut health, &down, at(15)), None, "its time begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn since_is_when_it_began() {
        let (mut health, start) = (Health::default(), Instant::now());
        let failed = |why: &str| Seen { failed: Some(why.into()), ..Seen::default() };
        health.note(&failed("one"), start);
        let began = health.tell(&failed("one"), start).unwrap().since;
        let later = start + Duration::from_secs(60);
        health.note(&failed("two"), later);
        let told = health.tell(&failed("two"), later).unwrap();
        assert_eq!((told.since, told.why.as_str()), (began, "two"));
    }
}
