//! Text for people. Everything here is a pure function of objects, the time and a style.

mod analysis_run;
mod cell;
mod columns;
mod describe;
mod lists;
mod outlook;
mod steps;
mod time;
mod versions;

pub use analysis_run::{measurement_line, render_run, run_paint, run_rows};
pub use cell::render_cell;
pub use columns::{Column, Text, columns};
pub use describe::{render_conditions, render_explanation};
pub use lists::{
    ListView, RouteRow, aws_place, binding_rows, cell_rows, cluster_rows, cluster_set_rows, history_rows, pause_rows,
    place, route_rows, target_group_rows, target_group_set_rows, vbl_rows,
};
pub use outlook::{Choice, choices};
pub use steps::{step_name, steps_of};
pub use time::{age, clock_time, duration};
pub use versions::shares;

#[cfg(test)]
pub(crate) mod fixtures;

use okra_api::{RouteOutcome, cell_status::CellPhase};

use crate::style::Paint;

/// The colour of a phase.
pub fn phase_paint(phase: CellPhase) -> Paint {
    match phase {
        CellPhase::Healthy => Paint::Good,
        CellPhase::Progressing => Paint::Busy,
        CellPhase::Paused | CellPhase::RollingBack => Paint::Warn,
        CellPhase::Degraded | CellPhase::Failed => Paint::Bad,
        CellPhase::Pending => Paint::Dim,
    }
}

/// The colour of a route's outcome.
pub fn outcome_paint(outcome: RouteOutcome) -> Paint {
    match outcome {
        RouteOutcome::Verified => Paint::Good,
        RouteOutcome::NotYet => Paint::Busy,
        RouteOutcome::Foreign => Paint::Warn,
        RouteOutcome::Refused => Paint::Bad,
    }
}
