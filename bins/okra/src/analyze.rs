//! `okra analyze`.

use okra_app::{
    analyze::{self, Ending, Options},
    metric_profiles::MetricProfiles,
    okrad::install_tls_provider,
    signals,
};
use okra_cli::{
    CommandError, Context, ExitStatus,
    analyze::{Ended, Plan, conclude},
};

use crate::args::Analyze;

/// Measures until there is a verdict.
pub async fn run(args: Analyze, context: &mut Context) -> Result<ExitStatus, CommandError> {
    let egress = analyze::egress(&args.metric_egress_allow, &args.metric_egress_deny);
    let egress = egress.map_err(|error| CommandError::usage("bad range of addresses", error))?;
    let profiles = args.metric_profiles.filter(|path| !path.as_os_str().is_empty());
    let profiles = MetricProfiles::read(profiles.as_deref());
    let profiles = profiles.map_err(|error| CommandError::usage("bad metric profiles", format!("{error:#}")))?;
    let plan = args.subject.plan()?;
    if args.timeout.is_none() {
        plan.warn_of_endless(&mut context.printer);
    }
    install_tls_provider();
    let signals = signals::listen().map_err(|error| CommandError::internal("failed to listen for signals", error))?;
    let mut told = plan.teller(&mut context.printer);
    let Plan { name, spec, annotations, secrets } = plan;
    let aws_endpoint_url = args.aws_endpoint_url.filter(|url| !url.is_empty());
    let options =
        Options { name, spec, annotations, profiles, secrets, egress, aws_endpoint_url, timeout: args.timeout };
    let analyzed = analyze::run(options, &signals.stop, &mut told).await;
    drop(told);
    let analyzed = analyzed.map_err(|error| CommandError::failed("failed to analyze", format!("{error:#}")))?;
    let ended = match analyzed.ending {
        Ending::Done | Ending::LongEnough => Ended::Done,
        Ending::TimedOut => Ended::TimedOut,
        Ending::Interrupted => Ended::Interrupted,
    };
    conclude(&analyzed.run, ended, args.timeout, context)
}
