//! Steps in the one form in which they are carried out, whatever the strategy.

use jiff::SignedDuration;
use okra_api::{
    cell::StrategyType,
    cell_status::RolloutStatus,
    step::{BlueGreenStep, CanaryStep, PauseStep},
};

use crate::field::FieldError;

/// One step of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutStep {
    /// The canary's total share is set, in percent.
    SetWeight(i32),
    /// The canary's total share is raised, in percent.
    StepWeight(i32),
    /// Waits; `None`: until a person resumes.
    Pause(Option<SignedDuration>),
    /// Waits for an AnalysisRun.
    Analysis,
    /// Waits for an Experiment.
    Experiment,
}

/// The step of a canary.
pub(super) fn of_canary(step: &CanaryStep) -> Result<RolloutStep, FieldError> {
    let mut found = Vec::new();
    if let Some(weight) = step.set_weight {
        found.push(("setWeight", percent("setWeight", weight, 0).map(RolloutStep::SetWeight)));
    }
    if let Some(weight) = step.step_weight {
        found.push(("stepWeight", percent("stepWeight", weight, 1).map(RolloutStep::StepWeight)));
    }
    if let Some(step) = &step.pause {
        found.push(("pause", pause(step)));
    }
    if let Some(analysis) = &step.analysis {
        found.push(("analysis", templates("analysis", analysis.templates.is_empty(), RolloutStep::Analysis)));
    }
    if let Some(experiment) = &step.experiment {
        found.push(("experiment", templates("experiment", experiment.templates.is_empty(), RolloutStep::Experiment)));
    }
    exactly_one(found, "setWeight, stepWeight, pause, analysis, experiment")
}

/// The step of a blue-green rollout. `promote` gives the new version all traffic.
pub(super) fn of_blue_green(step: &BlueGreenStep) -> Result<RolloutStep, FieldError> {
    let mut found = Vec::new();
    if step.promote.is_some() {
        found.push(("promote", Ok(RolloutStep::SetWeight(100))));
    }
    if let Some(step) = &step.pause {
        found.push(("pause", pause(step)));
    }
    if let Some(analysis) = &step.analysis {
        found.push(("analysis", templates("analysis", analysis.templates.is_empty(), RolloutStep::Analysis)));
    }
    if let Some(experiment) = &step.experiment {
        found.push(("experiment", templates("experiment", experiment.templates.is_empty(), RolloutStep::Experiment)));
    }
    exactly_one(found, "pause, analysis, experiment, promote")
}

fn exactly_one(
    mut found: Vec<(&str, Result<RolloutStep, FieldError>)>,
    allowed: &str,
) -> Result<RolloutStep, FieldError> {
    match (found.pop(), found.pop()) {
        (Some((_, step)), None) => step,
        (None, _) => Err(FieldError::new("", format!("is empty: set exactly one of {allowed}"))),
        (Some((second, _)), Some((first, _))) => {
            Err(FieldError::new("", format!("has both {first} and {second}: make two steps of them")))
        }
    }
}

fn percent(field: &str, value: i32, low: i32) -> Result<i32, FieldError> {
    if (low..=100).contains(&value) {
        Ok(value)
    } else {
        Err(FieldError::new(format!(".{field}"), format!("{value} is not between {low} and 100")))
    }
}

fn pause(step: &PauseStep) -> Result<RolloutStep, FieldError> {
    let duration = step.duration.as_ref().map(okra_api::GoDuration::get).transpose();
    duration.map(RolloutStep::Pause).map_err(|error| FieldError::new(".pause.duration", error.to_string()))
}

fn templates(field: &str, empty: bool, step: RolloutStep) -> Result<RolloutStep, FieldError> {
    if empty {
        Err(FieldError::new(format!(".{field}.templates"), "is empty: name at least one template"))
    } else {
        Ok(step)
    }
}

/// The steps that a rollout began with. A step that cannot be read (a status edited by hand) is a pause
/// without end: the safe reading.
pub(super) fn of_rollout(rollout: &RolloutStatus) -> Vec<RolloutStep> {
    let safe = RolloutStep::Pause(None);
    match rollout.strategy {
        StrategyType::Canary => rollout.steps.iter().map(|step| of_canary(step).unwrap_or(safe)).collect(),
        StrategyType::BlueGreen => {
            rollout.blue_green_steps.iter().map(|step| of_blue_green(step).unwrap_or(safe)).collect()
        }
    }
}

/// The canary's total share while the step at `index` runs, in percent: what the weight steps up to and
/// including it make of it. 100 once all steps are done.
pub fn share_at(steps: &[RolloutStep], index: usize) -> i32 {
    if index >= steps.len() {
        return 100;
    }
    steps.iter().take(index.saturating_add(1)).fold(0, |share: i32, step| match step {
        RolloutStep::SetWeight(weight) => (*weight).clamp(0, 100),
        RolloutStep::StepWeight(weight) => share.saturating_add(*weight).clamp(0, 100),
        RolloutStep::Pause(_) | RolloutStep::Analysis | RolloutStep::Experiment => share,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_absolute_and_step_weight_adds() {
        use RolloutStep::{Pause, SetWeight, StepWeight};
        let steps = [Pause(None), SetWeight(20), StepWeight(15), Pause(None), SetWeight(40), StepWeight(90)];
        let shares: Vec<i32> = (0..=steps.len()).map(|index| share_at(&steps, index)).collect();
        assert_eq!(shares, [0, 20, 35, 35, 40, 100, 100]);
        assert_eq!(share_at(&[], 0), 100);
    }

    #[test]
    fn a_step_has_exactly_one_key() {
        let two = CanaryStep { set_weight: Some(20), pause: Some(PauseStep::default()), ..CanaryStep::default() };
        assert!(of_canary(&two).unwrap_err().fault.contains("both setWeight and pause"));
        assert!(of_canary(&CanaryStep::default()).unwrap_err().fault.contains("is empty"));
        let over = CanaryStep { set_weight: Some(101), ..CanaryStep::default() };
        assert_eq!(of_canary(&over).unwrap_err().to_string(), ".setWeight: 101 is not between 0 and 100");
        let bad = CanaryStep { pause: Some(PauseStep { duration: Some("soon".into()) }), ..CanaryStep::default() };
        assert!(of_canary(&bad).unwrap_err().to_string().starts_with(".pause.duration: \"soon\" is not a duration"));
    }
}
