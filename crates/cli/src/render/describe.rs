//! Conditions as a table, and an object's wait in words.

use jiff::Timestamp;
use okra_api::{
    Cell,
    condition::{self, Condition},
    route::RouteStatus,
};

use super::{
    columns::{Column, Text, columns},
    outcome_paint, outlook, phase_paint,
    time::{age, date_time},
};
use crate::style::{Paint, Style, one_line};

/// Conditions as lines of a table; none for no conditions.
pub fn render_conditions(conditions: &[Condition], now: Timestamp, style: &Style) -> Vec<String> {
    const HEAD: [Column; 5] = [
        Column::left("CONDITION"),
        Column::left("STATUS"),
        Column::left("REASON"),
        Column::left("SINCE"),
        Column::left("MESSAGE"),
    ];
    if conditions.is_empty() {
        return Vec::new();
    }
    let row = |condition: &Condition| {
        vec![
            Text::plain(&condition.type_),
            Text::new(&condition.status, condition_paint(condition)),
            Text::plain(&condition.reason),
            Text::plain(age(condition.last_transition_time.0, now)),
            Text::plain(&condition.message),
        ]
    };
    columns(&HEAD, &conditions.iter().map(row).collect::<Vec<_>>(), style)
}

fn condition_paint(condition: &Condition) -> Paint {
    let good = match condition.type_.as_str() {
        condition::READY | condition::VALID | condition::TRAFFIC_VERIFIED | condition::ROLLBACK_READY => "True",
        condition::DEGRADED => "False",
        _ => return Paint::Plain,
    };
    if condition.status == good { Paint::Good } else { Paint::Warn }
}

/// What a Cell waits for and why: message, hold, route, conditions, and what a person can do.
pub fn render_explanation(cell: &Cell, route: Option<&RouteStatus>, now: Timestamp, style: &Style) -> String {
    let name = cell.metadata.name.as_deref().unwrap_or_default();
    let Some(status) = &cell.status else {
        return format!(
            "{name} waits for okrad, which has not looked at it yet. Check that okrad runs on this store.\n"
        );
    };
    let mut lines = Vec::new();
    let phase = status.phase.map_or_else(
        || style.paint(Paint::Warn, "Unknown"),
        |phase| style.paint(phase_paint(phase), &format!("{phase:?}")),
    );
    let message = if status.message.is_empty() { "nothing is due" } else { &status.message };
    lines.push(format!("{name} is {phase}: {}", one_line(message)));
    if let Some(since) = status.waiting_since {
        let limit = cell.spec.progress_deadline_seconds.unwrap_or(600);
        lines.push(format!("It waits for {} (degraded after {limit}s).", age(since, now)));
    }
    if let Some(hold) = &status.hold {
        let by = if hold.by.is_empty() { String::new() } else { format!(" by {}", hold.by) };
        let text = format!("Weights are held{by} since {} ({}): {}", date_time(hold.since), hold.reason, hold.message);
        lines.push(style.paint(Paint::Warn, &one_line(&text)));
    }
    if let Some(outcome) = route.and_then(|route| route.outcome) {
        let message = route.map(|route| route.message.as_str()).unwrap_or_default();
        let gap = if message.is_empty() { "" } else { ": " };
        let text = format!("The load balancer: {outcome:?}{gap}{message}");
        lines.push(style.paint(outcome_paint(outcome), &one_line(&text)));
    }
    lines.push(String::new());
    lines.extend(render_conditions(&status.conditions, now, style));
    let choices = outlook::choice_lines(outlook::choices(cell, route), style);
    if !choices.is_empty() {
        lines.push(String::new());
        lines.extend(choices);
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, NOW};
    use super::*;

    #[test]
    fn an_explanation_names_the_wait_the_hold_and_the_route() {
        let (cell, route) = fixtures::paused_by_person();
        let text = render_explanation(&cell, Some(&route), NOW, &Style::plain("okractl"));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn without_a_status_okrad_is_missing() {
        let cell = fixtures::cell();
        let text = render_explanation(&cell, None, NOW, &Style::plain("okractl"));
        assert_eq!(text, "web waits for okrad, which has not looked at it yet. Check that okrad runs on this store.\n");
    }
}
