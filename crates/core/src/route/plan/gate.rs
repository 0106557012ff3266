//! Health: which readings are needed, and whether a raise may go.

use jiff::{SignedDuration, Timestamp};

use super::{HEALTH_FRESH, HEALTH_REPEAT, RouteInput, SOON};
use crate::planted::{Planted, is_planted};
use crate::route::{IntentGroup, Lane};

/// What a target group must show before it gets more traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Floor {
    /// As many healthy targets as its floor says.
    Healthy,
    /// One registered target: its health cannot be seen before the rule is there.
    Registered,
}

/// Whether a raise may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Yes.
    Open,
    /// Read the health of these first.
    Ask(Vec<String>),
    /// Not yet; what is missing, and the ids of the groups.
    Shut(String, Vec<String>),
    /// The router says that there is no such group.
    Gone(String),
}

/// The lane of a reading that a raise waits for: nothing of others goes before a way back.
pub(super) fn lane(input: &RouteInput) -> Lane {
    if input.way_back == Some(true) { Lane::Rollback } else { Lane::Verify }
}

/// Whether these groups may get more traffic.
pub(super) fn gate(input: &RouteInput, ids: &[String], floor: Floor, now: Timestamp) -> Gate {
    if !input.capabilities.sees_health || is_planted(Planted::HealthFloorIgnored) {
        return Gate::Open;
    }
    let gated = || input.intent.groups.iter().filter(|group| ids.contains(&group.id)).filter_map(needs);
    let poll = poll_interval(input, now);
    let ask: Vec<String> = gated()
        .filter(|(group, need)| asks(input, group, *need, floor, poll, now))
        .map(|(group, _)| group.id.clone())
        .collect();
    if !ask.is_empty() {
        return Gate::Ask(ask);
    }
    let mut missing = Vec::new();
    let mut shut = Vec::new();
    for (group, need) in gated() {
        let Some(reading) = input.health.get(&group.id) else { continue };
        if reading.health.gone {
            return Gate::Gone(gone(group));
        }
        if !passes(reading.health.healthy, reading.health.total, need, floor) {
            shut.push(group.id.clone());
            missing.push(match floor {
                Floor::Healthy => format!(
                    "{}: {} of {} healthy, needs {need}",
                    group.name, reading.health.healthy, reading.health.total
                ),
                Floor::Registered => format!("{}: no registered target, needs 1", group.name),
            });
        }
    }
    if shut.is_empty() { Gate::Open } else { Gate::Shut(format!("waits for health: {}", missing.join("; ")), shut) }
}

fn gone(group: &IntentGroup) -> String {
    format!("target group {} ({}) does not exist: take it out, or create it again", group.name, group.id)
}

/// Whether groups that the rule does not hold may come into it: not one that did not exist a moment ago.
pub(super) fn may_enter(input: &RouteInput, holds: impl Fn(&str) -> bool, now: Timestamp) -> Gate {
    let new = input.intent.groups.iter().filter(|group| !holds(&group.id));
    let readings = new.filter_map(|group| Some((group, input.health.get(&group.id)?)));
    let not_there: Vec<_> = readings.filter(|(_, reading)| reading.health.gone).collect();
    let old = not_there.iter().filter(|(_, reading)| age(reading.at, now) >= HEALTH_FRESH);
    let ask: Vec<String> = old.map(|(group, _)| group.id.clone()).collect();
    match not_there.first() {
        _ if !ask.is_empty() => Gate::Ask(ask),
        Some((group, _)) => Gate::Gone(gone(group)),
        None => Gate::Open,
    }
}

/// A group whose raise is gated, with its floor.
fn needs(group: &IntentGroup) -> Option<(&IntentGroup, u32)> {
    group.min_healthy.filter(|need| *need > 0).map(|need| (group, need))
}

fn passes(healthy: u32, total: u32, need: u32, floor: Floor) -> bool {
    match floor {
        Floor::Healthy => healthy >= need,
        Floor::Registered => total >= 1,
    }
}

/// Whether a group's health must be read before its raise is decided: there is no fresh reading, or the one that
/// there is says no and it is time to look again.
fn asks(
    input: &RouteInput,
    group: &IntentGroup,
    need: u32,
    floor: Floor,
    poll: SignedDuration,
    now: Timestamp,
) -> bool {
    let Some(reading) = input.health.get(&group.id) else { return true };
    let age = age(reading.at, now);
    let good = !reading.health.gone && passes(reading.health.healthy, reading.health.total, need, floor);
    age >= input.health_counts_for() || (!good && age >= poll)
}

/// A clock that was set back makes a reading look as if it came from the future: that counts as age, too.
pub(crate) fn age(at: Timestamp, now: Timestamp) -> SignedDuration {
    now.duration_since(at).abs()
}

/// How long to wait until the next look at health: 2 s in the first 30 s, 5 s in the first 5 min, then 15 s.
pub(super) fn poll_interval(input: &RouteInput, now: Timestamp) -> SignedDuration {
    let waited = input.waiting_since.map_or(SignedDuration::ZERO, |since| now.duration_since(since));
    if waited < SignedDuration::from_secs(30) {
        SOON
    } else if waited < SignedDuration::from_mins(5) {
        SignedDuration::from_secs(5)
    } else {
        SignedDuration::from_secs(15)
    }
}

/// Groups of `spec.healthOf` that the intent knows.
fn watched(input: &RouteInput) -> impl Iterator<Item = &IntentGroup> {
    let known = |name: &&String| input.health_of.contains(name);
    let groups = input.intent.groups.iter().filter(move |group| known(&&group.name));
    groups.filter(|_| input.capabilities.sees_health)
}

fn below_floor(input: &RouteInput, group: &IntentGroup) -> bool {
    let need = group.min_healthy.unwrap_or(1).max(1);
    input.health.get(&group.id).is_none_or(|reading| reading.health.gone || reading.health.healthy < need)
}

/// Ids of the watched groups whose last reading is below their floor.
pub(super) fn watched_below(input: &RouteInput) -> Vec<String> {
    watched(input).filter(|group| below_floor(input, group)).map(|group| group.id.clone()).collect()
}

/// Which groups to read after the rule was seen to hold the intent: the watched ones, and with `parked` those
/// without weight. Readings of the last 10 s are not repeated, unless one is below its floor and it is time, or a
/// watched one is from before the intent was sent: it is what a rollout is measured by.
pub(super) fn after_look(input: &RouteInput, parked: bool, now: Timestamp) -> Vec<String> {
    let wanted = |group: &&IntentGroup| {
        input.health_of.contains(&group.name) || (parked && group.weight == 0 && input.capabilities.sees_health)
    };
    let groups = input.intent.groups.iter().filter(wanted).filter(|_| input.capabilities.sees_health);
    let due = groups
        .filter(|group| due(input, group, HEALTH_REPEAT, now) || is_from_before(input, group, now))
        .map(|group| group.id.clone());
    // A group that was gone may be known again; no intent asks for it, so only this look finds out.
    let stale = |id: &String| input.health.get(id).is_none_or(|reading| age(reading.at, now) >= HEALTH_REPEAT);
    let gone = input.gone_elsewhere().filter(|_| parked).map(|row| row.id.clone()).filter(stale);
    due.chain(gone).collect()
}

/// Whether a watched group was read before the last change was sent. After the clock was set back every reading looks
/// as if it were: asked for again, the next one would, too.
fn is_from_before(input: &RouteInput, group: &IntentGroup, now: Timestamp) -> bool {
    let (Some(sent), Some(reading)) = (&input.sent, input.health.get(&group.id)) else { return false };
    input.health_of.contains(&group.name) && reading.at < sent.at && sent.at <= now
}

/// Which watched groups are below their floor and due for another look.
pub(super) fn polls(input: &RouteInput, now: Timestamp) -> Vec<String> {
    let groups = watched(input).filter(|group| below_floor(input, group));
    groups.filter(|group| due(input, group, poll_interval(input, now), now)).map(|group| group.id.clone()).collect()
}

fn due(input: &RouteInput, group: &IntentGroup, repeat: SignedDuration, now: Timestamp) -> bool {
    let limit = if below_floor(input, group) { poll_interval(input, now).min(repeat) } else { repeat };
    input.health.get(&group.id).is_none_or(|reading| age(reading.at, now) >= limit)
}
