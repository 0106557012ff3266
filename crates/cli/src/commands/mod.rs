//! One file per verb.

pub mod abort;
pub mod cancel;
pub mod cluster;
pub mod completion;
pub mod crd;
pub mod create;
pub mod delete;
pub mod describe;
pub mod drain;
pub mod explain;
pub mod get;
pub mod history;
pub mod lint;
pub mod pause;
pub mod plan;
pub mod promote;
pub mod resume;
pub mod retry;
pub mod run;
pub mod unblock;
pub mod undo;
pub mod update;
pub mod upsert;
pub mod version;
pub mod wait;
pub mod watch;

use crate::{
    args::Verb,
    context::Context,
    error::{CommandError, ExitStatus},
};

/// Runs a verb.
pub async fn run(verb: Verb, context: &mut Context) -> Result<ExitStatus, CommandError> {
    match verb {
        Verb::Get(args) => get::run(args, context).await,
        Verb::Describe(args) => describe::run(args, context).await,
        Verb::Explain(args) => explain::run(args, context).await,
        Verb::Plan(args) => plan::run(args, context).await,
        Verb::Watch(args) => watch::run(args, context).await,
        Verb::History(args) => history::run(args, context).await,
        Verb::Promote(args) => promote::run(args, context).await,
        Verb::Pause(args) => pause::run(args, context).await,
        Verb::Resume(args) => resume::run(args, context).await,
        Verb::Abort(args) => abort::run(args, context).await,
        Verb::Undo(args) => undo::run(args, context).await,
        Verb::Retry(args) => retry::run(args, context).await,
        Verb::Unblock(args) => unblock::run(args, context).await,
        Verb::Drain(args) => drain::drain(args, context).await,
        Verb::Undrain(args) => drain::undrain(args, context).await,
        Verb::Lint(args) => lint::run(&args, context),
        Verb::Wait(args) => wait::run(args, context).await,
        Verb::Cancel(args) => cancel::run(args, context).await,
        Verb::Create(args) => create::run(args, context).await,
        Verb::Delete(args) => delete::run(args, context).await,
        Verb::Update(args) => update::run(args, context).await,
        Verb::Upsert(args) => upsert::run(args, context).await,
        Verb::Run(args) => run::run(args, context).await,
        Verb::Completion(args) => completion::run(args, context),
        Verb::Version => version::run(context),
    }
}

#[cfg(test)]
mod analysis_tests;
#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upsert_tests;
