//! The steps of a rollout, in words.

use okra_api::{
    GoDuration,
    cell_status::RolloutStatus,
    step::{AnalysisStep, BlueGreenStep, CanaryStep, ExperimentStep, PauseStep},
};

/// A step of either strategy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepView<'a> {
    /// The canary's total share from now on, in percent.
    SetWeight(i32),
    /// Adds to the canary's total share.
    StepWeight(i32),
    /// Waits.
    Pause(&'a PauseStep),
    /// Measures.
    Analysis(&'a AnalysisStep),
    /// Runs pods and measures.
    Experiment(&'a ExperimentStep),
    /// All traffic.
    Promote,
}

impl StepView<'_> {
    /// The canary's total share once this step acts, from the share before it.
    pub fn share(self, before: i32) -> i32 {
        match self {
            Self::SetWeight(weight) => weight.clamp(0, 100),
            Self::StepWeight(more) => before.saturating_add(more).clamp(0, 100),
            Self::Promote => 100,
            Self::Pause(_) | Self::Analysis(_) | Self::Experiment(_) => before,
        }
    }
}

/// The steps that a rollout began with. A step without any field, which a server refuses, is left out.
pub fn steps_of(rollout: &RolloutStatus) -> Vec<StepView<'_>> {
    let canary = rollout.steps.iter().filter_map(of_canary);
    canary.chain(rollout.blue_green_steps.iter().filter_map(of_blue_green)).collect()
}

fn of_canary(step: &CanaryStep) -> Option<StepView<'_>> {
    step.set_weight
        .map(StepView::SetWeight)
        .or(step.step_weight.map(StepView::StepWeight))
        .or(step.pause.as_ref().map(StepView::Pause))
        .or(step.analysis.as_ref().map(StepView::Analysis))
        .or(step.experiment.as_ref().map(StepView::Experiment))
}

fn of_blue_green(step: &BlueGreenStep) -> Option<StepView<'_>> {
    step.promote
        .as_ref()
        .map(|_| StepView::Promote)
        .or(step.pause.as_ref().map(StepView::Pause))
        .or(step.analysis.as_ref().map(StepView::Analysis))
        .or(step.experiment.as_ref().map(StepView::Experiment))
}

/// A step in the words of its manifest.
pub fn step_name(step: StepView<'_>) -> String {
    match step {
        StepView::SetWeight(weight) => format!("setWeight {weight}"),
        StepView::StepWeight(more) => format!("stepWeight +{more}"),
        StepView::Pause(pause) => match &pause.duration {
            Some(duration) => format!("pause {}", with_unit(duration)),
            None => "pause until resumed".to_owned(),
        },
        StepView::Analysis(analysis) => {
            format!("analysis {}", names(analysis.templates.iter().map(|template| template.template_name.as_str())))
        }
        StepView::Experiment(experiment) => {
            format!("experiment {}", names(experiment.templates.iter().map(|template| template.name.as_str())))
        }
        StepView::Promote => "promote".to_owned(),
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

fn with_unit(duration: &GoDuration) -> String {
    match duration {
        GoDuration::Seconds(seconds) => format!("{seconds}s"),
        GoDuration::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => format!("{text}s"),
        GoDuration::Text(text) => text.clone(),
    }
}
