//! The page of every state that a person meets.

use super::super::fixtures::{self, NOW};
use super::*;

fn page(cell: &Cell, route: Option<&RouteStatus>) -> String {
    render_cell(cell, route, NOW, &Style::plain("okractl"))
}

macro_rules! pages {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            let (cell, route) = fixtures::$name();
            insta::assert_snapshot!(page(&cell, Some(&route)));
        }
    )*};
}

pages!(
    healthy,
    waiting_for_pause,
    waiting_for_health,
    paused_by_person,
    foreign_edit,
    rolling_back,
    failed,
    degraded,
    state_lost,
);

#[test]
fn first_deployment() {
    let (cell, route) = fixtures::first_deployment();
    insta::assert_snapshot!(page(&cell, route.as_ref()));
}

#[test]
fn without_a_status_okrad_is_missing() {
    insta::assert_snapshot!(page(&fixtures::cell(), None));
}

#[test]
fn a_terminal_gets_colours_and_lines() {
    let (cell, route) = fixtures::waiting_for_health();
    let style = Style { color: true, unicode: true, program: "okractl".to_owned() };
    let text = render_cell(&cell, Some(&route), NOW, &style);
    assert!(text.contains("├─ web-3") && text.contains("└─ web-4") && text.contains("▶"), "{text}");
    assert!(text.contains("\u{1b}[36mProgressing"), "{text}");
}

#[test]
fn what_stands_out_is_named() {
    let (mut cell, route) = fixtures::waiting_for_pause();
    cell.spec.suspend = true;
    cell.metadata.generation = Some(4);
    let text = page(&cell, Some(&route));
    assert!(text.contains("spec.suspend is true"), "{text}");
    assert!(text.contains("(generation 4, seen 3)"), "{text}");
}

#[test]
fn no_line_ends_in_a_space() {
    let (cell, route) = fixtures::healthy();
    let text = page(&cell, Some(&route));
    assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
}
