//! What can be said on the command line of okra: every command of okractl, and its own.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use okra_cli::{Global, args::duration};

/// Everything that okrad and okractl do, as commands for CI jobs.
#[derive(Debug, clap::Parser)]
#[command(name = "okra", version, propagate_version = true, max_term_width = 100)]
pub struct Okra {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The commands of okra.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Judge an AnalysisTemplate from a file, without a cluster; the verdict is the exit code.
    ///
    /// It measures from here what okrad would measure. Each measurement is printed as it comes: time, metric, phase,
    /// value, message. Exit code 0: Successful. 1: Failed, or not done within --timeout. 2: the command line or the
    /// template makes no sense. 4: Inconclusive. 5: Error, it could not be measured. 130: ended by Ctrl-C.
    ///
    /// A metric without `count` has no end: it is measured until --timeout, which then ends the run as the end of a
    /// rollout ends its background analysis, or until Ctrl-C. Jobs need a cluster: use `okra run analysis`.
    Analyze(Analyze),
    /// Ask every cluster that has a cluster Secret whether it answers.
    Clusters(Clusters),
    /// Print Okra's CustomResourceDefinitions as YAML, for `kubectl apply -f -`.
    Crd,
    /// Swap small clusters behind the embedded balancer on this machine, under load.
    Demo(Demo),
    /// Talk to EKS clusters.
    Eks(Eks),
    /// Do what okrad does, for one object, until nothing is due.
    Sync(Sync),
    /// A command of okractl.
    #[command(flatten)]
    Shared(okra_cli::Verb),
}

/// The template, its arguments, and the bounds of the run.
#[derive(Clone, Debug, clap::Args)]
pub struct Analyze {
    /// The template and its arguments.
    #[command(flatten)]
    pub subject: okra_cli::analyze::Subject,
    /// End the run after this [default: it ends by itself]
    #[arg(long, value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Let metrics be asked for at these addresses; may be repeated, and wins over everything that is denied.
    #[arg(long, env = "OKRA_METRIC_EGRESS_ALLOW", hide_env_values = true, value_name = "CIDR", value_delimiter = ',')]
    pub metric_egress_allow: Vec<String>,
    /// Let no metrics be asked for at these addresses, besides link-local and metadata addresses; may be repeated. This
    /// machine is allowed, unlike in okrad: deny 127.0.0.0/8 and ::1 where templates are not yours.
    #[arg(long, env = "OKRA_METRIC_EGRESS_DENY", hide_env_values = true, value_name = "CIDR", value_delimiter = ',')]
    pub metric_egress_deny: Vec<String>,
    /// File with named profiles of metrics: where on AWS a template with annotation okra.mumo.co/metric-profile measures,
    /// and as whom.
    #[arg(long, env = "OKRA_METRIC_PROFILES", hide_env_values = true, value_name = "FILE")]
    pub metric_profiles: Option<PathBuf>,
    /// Endpoint for every AWS service [default: the AWS SDK's own variables].
    #[arg(long, env = "OKRA_AWS_ENDPOINT_URL", hide_env_values = true, value_name = "URL")]
    pub aws_endpoint_url: Option<String>,
}

/// Swap small clusters behind the embedded balancer on this machine, under load.
///
/// It takes half a minute and needs nothing: the clusters are HTTP servers on 127.0.0.1, the objects are files in a
/// temporary folder. Exit code 1 if a request failed or something took longer than it should.
#[derive(Clone, Debug, clap::Args)]
pub struct Demo {
    /// Where the balancer listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Requests a second.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub rate: u32,
    /// Leave it running after the summary, to play with by okractl, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
    /// Length of the pauses between the steps.
    #[arg(long, hide = true, default_value = "3s", value_parser = duration)]
    pub pause: Duration,
}

/// Ask every cluster that has a cluster Secret whether it answers.
///
/// It goes the way that okrad goes: by the Secret's token, certificate, password, or a token for EKS that is made here.
/// Exit code 1: one of them does not answer, does not let us in, or has a Secret that is not used.
#[derive(Clone, Debug, clap::Args)]
pub struct Clusters {
    /// In every namespace.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
}

/// Talk to EKS clusters.
#[derive(Clone, Debug, clap::Args)]
pub struct Eks {
    /// What to do.
    #[command(subcommand)]
    pub verb: EksVerb,
}

/// The commands about EKS clusters.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum EksVerb {
    /// Print a token for an EKS cluster as `aws eks get-token` does, without the AWS CLI and without a call.
    #[command(visible_alias = "get-token")]
    Token(EksToken),
}

/// The cluster, and as whom.
///
/// Use it in a kubeconfig in place of `aws eks get-token`:
/// `exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: okra, args: [eks, token, --cluster-name, NAME]}`.
/// The token counts for 14 minutes. Only a role is asked for, at STS.
#[derive(Clone, Debug, clap::Args)]
pub struct EksToken {
    /// Name of the EKS cluster.
    #[arg(long, value_name = "NAME", visible_alias = "cluster-id")]
    pub cluster_name: String,
    /// Region of the STS that the cluster asks [default: AWS_REGION, else the profile's].
    #[arg(long)]
    pub region: Option<String>,
    /// Role to assume.
    #[arg(long, value_name = "ARN")]
    pub role_arn: Option<String>,
    /// Profile of the credentials [default: AWS_PROFILE].
    #[arg(long)]
    pub profile: Option<String>,
}

/// Do what okrad does, for one object, until nothing is due.
#[derive(Clone, Debug, clap::Args)]
pub struct Sync {
    /// What is synced.
    #[command(subcommand)]
    pub object: SyncObject,
}

/// What can be synced.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum SyncObject {
    /// Bring a Cell and its route to where its manifest wants them.
    Cell(SyncOne),
    /// Bring the rule of an AWSApplicationLoadBalancerConfig to what its spec says.
    #[command(name = "awsapplicationloadbalancerconfig", visible_alias = "albc")]
    AwsApplicationLoadBalancerConfig(SyncOne),
    /// Look for the clusters of a ClusterSet once, and write their Secrets.
    #[command(name = "clusterset", visible_alias = "cset")]
    ClusterSet(SyncSet),
    /// Look for the bindings of an AWSTargetGroupSet once, and write their AWSTargetGroups.
    #[command(name = "awstargetgroupset", visible_alias = "atgs")]
    AwsTargetGroupSet(SyncSet),
}

/// The set, and how it is synced.
///
/// Exit code 0: it is as its manifest wants it. 1: something is in the way, or it failed. It takes okrad's lease for as
/// long as it runs, and refuses while an okrad holds it.
#[derive(Clone, Debug, clap::Args)]
pub struct SyncSet {
    /// The set's name.
    #[arg(required_unless_present = "named")]
    pub name: Option<String>,
    /// The set's name, as a flag.
    #[arg(long = "name", id = "named", value_name = "NAME", conflicts_with = "name")]
    pub named: Option<String>,
    /// Print the objects that would be written, as YAML, and write none. Takes no lease.
    #[arg(long)]
    pub dry_run: bool,
    /// How long it may take.
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
    /// Endpoint for every AWS service [default: the AWS SDK's own variables].
    #[arg(long, env = "OKRA_AWS_ENDPOINT_URL", hide_env_values = true, value_name = "URL")]
    pub aws_endpoint_url: Option<String>,
}

/// The object, and how it is synced.
///
/// Exit code 0: at rest as its manifest wants it. 1: it waits for something, which is printed, or it failed. It takes
/// okrad's lease for as long as it runs, and refuses while an okrad holds it.
#[derive(Clone, Debug, clap::Args)]
pub struct SyncOne {
    /// The object's name.
    #[arg(required_unless_present = "named")]
    pub name: Option<String>,
    /// The object's name, as a flag.
    #[arg(long = "name", id = "named", value_name = "NAME", conflicts_with = "name")]
    pub named: Option<String>,
    /// Print what would be done, and do nothing. Takes no lease.
    #[arg(long)]
    pub dry_run: bool,
    /// How long it may take, pauses with a duration included.
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub timeout: Duration,
    /// Owner tag of this installation's listener rules [default: UID of namespace kube-system, or .okra/id of the
    /// directory].
    #[arg(long, env = "OKRA_INSTALLATION_ID", hide_env_values = true, value_name = "ID")]
    pub installation_id: Option<String>,
    /// Endpoint for every AWS service [default: the AWS SDK's own variables].
    #[arg(long, env = "OKRA_AWS_ENDPOINT_URL", hide_env_values = true, value_name = "URL")]
    pub aws_endpoint_url: Option<String>,
    /// Keep calls under the published rates of AWS (`aws`); `off` only for emulators.
    #[arg(long, env = "OKRA_AWS_RATE_LIMITS", hide_env_values = true, default_value = "aws", value_name = "RATES",
          value_parser = ["aws", "off"])]
    pub aws_rate_limits: String,
    /// How long a change of an AWS listener rule may take to reach its data path.
    #[arg(long, env = "OKRA_AWS_SETTLE", hide_env_values = true, default_value = "60s", value_parser = duration,
          value_name = "DURATION")]
    pub aws_settle: Duration,
}
