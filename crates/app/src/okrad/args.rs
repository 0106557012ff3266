//! The flags of `okrad`, each with its environment twin.

use std::{
    net::{Ipv6Addr, SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::{ArgAction, Parser, ValueEnum, builder::BoolishValueParser};
use okra_analysis::Cidr;
use okra_api::GoDuration;

/// The controllers of Okra: swaps whole clusters behind a load balancer while the service stays up.
#[derive(Clone, Debug, Parser)]
#[command(name = "okrad", version, about, max_term_width = 110)]
pub struct Args {
    /// Namespace to look at; repeatable, in the environment separated by commas [default: all]
    #[arg(long = "namespace", short = 'n', env = "OKRA_NAMESPACE", value_delimiter = ',', value_name = "NAMESPACE")]
    pub namespaces: Vec<String>,

    /// Address that serves /metrics; port 0 takes a free one, named in the log
    #[arg(long, env = "OKRA_METRICS_ADDR", default_value = ":8080", value_name = "ADDRESS", value_parser = listen_address)]
    pub metrics_addr: SocketAddr,

    /// Address that serves /livez and /readyz; port 0 takes a free one, named in the log
    #[arg(long, env = "OKRA_HEALTH_ADDR", default_value = ":8081", value_name = "ADDRESS", value_parser = listen_address)]
    pub health_addr: SocketAddr,

    /// Act only while holding the Lease "okra"; turn it off only when no second okrad can run
    #[arg(long, env = "OKRA_ENABLE_LEADER_ELECTION", action = ArgAction::Set, default_value_t = true,
          num_args = 0..=1, default_missing_value = "true", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub enable_leader_election: bool,

    /// How long the lease holds without being renewed: after a crash another okrad takes over no sooner
    #[arg(long, env = "OKRA_LEASE_DURATION", default_value = "15s", value_name = "DURATION", value_parser = lease_duration)]
    pub lease_duration: Duration,

    /// Owner tag of this installation's listener rules [default: UID of namespace kube-system, or .okra/id of the
    /// directory]
    #[arg(long, env = "OKRA_INSTALLATION_ID", value_name = "ID", value_parser = installation_id)]
    pub installation_id: Option<String>,

    /// How often every object is looked at without a change
    #[arg(long, env = "OKRA_SYNC_PERIOD", default_value = "10m", value_name = "DURATION", value_parser = positive_duration)]
    pub sync_period: Duration,

    /// How often each listener is looked at for changes made by others
    #[arg(long, env = "OKRA_DRIFT_INTERVAL", default_value = "5m", value_name = "DURATION", value_parser = positive_duration)]
    pub drift_interval: Duration,

    /// Who carries out AnalysisRuns and Experiments: okrad itself, or an installed Argo Rollouts
    #[arg(long, env = "OKRA_ANALYSIS_ENGINE", value_enum, default_value_t = AnalysisEngine::Native, value_name = "ENGINE")]
    pub analysis_engine: AnalysisEngine,

    /// Instance id label of the AnalysisRuns and Experiments that count; empty: those without the label
    #[arg(long, env = "OKRA_ANALYSIS_INSTANCE_ID", default_value = "okra", value_name = "ID")]
    pub analysis_instance_id: String,

    /// Let metrics be asked for at these addresses; may be repeated, and wins over everything that is denied
    #[arg(long, env = "OKRA_METRIC_EGRESS_ALLOW", value_name = "CIDR", value_delimiter = ',', value_parser = cidr)]
    pub metric_egress_allow: Vec<Option<Cidr>>,

    /// Let no metrics be asked for at these addresses, besides loopback, link-local and metadata addresses and the API
    /// server's own; may be repeated
    #[arg(long, env = "OKRA_METRIC_EGRESS_DENY", value_name = "CIDR", value_delimiter = ',', value_parser = cidr)]
    pub metric_egress_deny: Vec<Option<Cidr>>,

    /// File with named profiles of metrics: AWS region and role, cluster for Jobs; chosen by annotation
    /// okra.mumo.co/metric-profile
    #[arg(long, env = "OKRA_METRIC_PROFILES", value_name = "FILE")]
    pub metric_profiles: Option<PathBuf>,

    /// Keep calls under the published rates of AWS; off only for emulators
    #[arg(long, env = "OKRA_AWS_RATE_LIMITS", value_enum, default_value_t = AwsRateLimits::Aws, value_name = "RATES")]
    pub aws_rate_limits: AwsRateLimits,

    /// How long a change of an AWS listener rule may take to reach its data path
    #[arg(long, env = "OKRA_AWS_SETTLE", default_value = "60s", value_name = "DURATION", value_parser = any_duration)]
    pub aws_settle: Duration,

    /// Endpoint for every AWS service [default: the AWS SDK's own variables]
    #[arg(long, env = "OKRA_AWS_ENDPOINT_URL", value_name = "URL", value_parser = endpoint_url)]
    pub aws_endpoint_url: Option<String>,

    /// Where objects are kept: "kubernetes", or "dir:PATH" for a directory of manifests
    #[arg(long, env = "OKRA_STORE", default_value = "kubernetes", value_name = "STORE")]
    pub store: StoreLocation,

    /// Kubeconfig file [default: KUBECONFIG, else ~/.kube/config, else the Pod's service account]
    #[arg(long, env = "OKRA_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, env = "OKRA_CONTEXT", value_name = "CONTEXT")]
    pub context: Option<String>,

    /// Form of the log, on standard error
    #[arg(long, env = "OKRA_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or directives like okra_aws=debug [default: RUST_LOG, else
    /// info]
    #[arg(long, env = "OKRA_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// Append every decision to this file, one JSON value per line
    #[arg(long, env = "OKRA_RECORD", value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Decide and report, write nothing outside; takes no lease
    #[arg(long, env = "OKRA_DRY_RUN", action = ArgAction::Set, default_value_t = false, num_args = 0..=1,
          default_missing_value = "true", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub dry_run: bool,
}

impl Args {
    /// An empty variable in a Pod's template means that it is not set.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        self.namespaces.retain(|namespace| !namespace.trim().is_empty());
        self.kubeconfig = self.kubeconfig.filter(|path| !path.as_os_str().is_empty());
        self.record = self.record.filter(|path| !path.as_os_str().is_empty());
        self.metric_profiles = self.metric_profiles.filter(|path| !path.as_os_str().is_empty());
        for text in [&mut self.context, &mut self.log_level, &mut self.installation_id, &mut self.aws_endpoint_url] {
            *text = text.take().filter(|text| !text.trim().is_empty());
        }
        self
    }
}

/// Who carries out AnalysisRuns and Experiments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AnalysisEngine {
    /// okrad.
    Native,
    /// An installed Argo Rollouts controller.
    Argo,
}

/// Whether calls are kept under the published rates of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AwsRateLimits {
    /// Under the rates of an AWS account.
    Aws,
    /// Without a limit, for emulators.
    Off,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Where objects are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreLocation {
    /// The Kubernetes API.
    Kubernetes,
    /// A directory of manifests.
    Directory(PathBuf),
}

impl FromStr for StoreLocation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "kubernetes" => Ok(Self::Kubernetes),
            Some(("dir", path)) if !path.is_empty() => Ok(Self::Directory(path.into())),
            _ => Err("write kubernetes, or dir:PATH with the path of a directory".to_owned()),
        }
    }
}

/// Reads a range of addresses. An empty variable in a Pod's template means that it is not set.
fn cidr(text: &str) -> Result<Option<Cidr>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: okra_analysis::InvalidCidr| error.to_string())
}

/// Reads a duration; zero is one.
fn any_duration(text: &str) -> Result<Duration, String> {
    let duration = GoDuration::from(text).get().map_err(|error| error.to_string())?;
    Duration::try_from(duration).map_err(|error| error.to_string())
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = any_duration(text)?;
    if duration < Duration::from_secs(1) { Err("must be at least 1s".to_owned()) } else { Ok(duration) }
}

/// A lease shorter than this could not cover the calls that are made under it.
fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = any_duration(text)?;
    if (Duration::from_secs(3)..=Duration::from_hours(1)).contains(&duration) {
        Ok(duration)
    } else {
        Err("must be from 3s to 1h".to_owned())
    }
}

/// Reads `host:port`, or `:port` for every address of this machine, as Go programs write it.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix(':') {
        let port = port.parse().map_err(|_| format!("\"{port}\" is not a port"))?;
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    let mut addresses = text.to_socket_addrs().map_err(|_| "write HOST:PORT, or :PORT for every address".to_owned())?;
    addresses.next().ok_or_else(|| "this name has no address".to_owned())
}

/// The id becomes a tag's value on AWS.
fn installation_id(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._:/=+-@".contains(c);
    if text.len() <= 128 && text.chars().all(legal) {
        Ok(text.to_owned())
    } else {
        Err("write at most 128 of the characters a-z A-Z 0-9 . _ : / = + - @".to_owned())
    }
}

fn endpoint_url(text: &str) -> Result<String, String> {
    if text.is_empty() || text.starts_with("http://") || text.starts_with("https://") {
        Ok(text.to_owned())
    } else {
        Err("write a URL that begins with http:// or https://".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use pretty_assertions::assert_eq;

    use super::*;

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("okrad").chain(args.iter().copied())).map(Args::normalized)
    }

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.namespaces, Vec::<String>::new());
        assert_eq!(args.metrics_addr, "[::]:8080".parse().unwrap());
        assert_eq!(args.health_addr, "[::]:8081".parse().unwrap());
        assert!(args.enable_leader_election);
        assert_eq!(args.lease_duration, Duration::from_secs(15));
        assert_eq!(args.sync_period, Duration::from_mins(10));
        assert_eq!(args.drift_interval, Duration::from_mins(5));
        assert_eq!(args.aws_settle, Duration::from_mins(1));
        assert_eq!((args.analysis_engine, args.aws_rate_limits), (AnalysisEngine::Native, AwsRateLimits::Aws));
        assert_eq!(args.analysis_instance_id, "okra");
        assert_eq!((args.store, args.log_format), (StoreLocation::Kubernetes, LogFormat::Text));
        assert_eq!((args.installation_id, args.aws_endpoint_url, args.record), (None, None, None));
        assert_eq!((args.kubeconfig, args.context, args.log_level, args.dry_run), (None, None, None, false));
        assert_eq!(args.metric_profiles, None);
    }

    #[test]
    fn every_flag_has_its_environment_twin() {
        for arg in Args::command().get_arguments() {
            let Some(long) = arg.get_long().filter(|long| !["help", "version"].contains(long)) else { continue };
            let twin = format!("OKRA_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(twin.as_str()), "--{long}");
        }
    }

    #[test]
    fn flags_are_read() {
        let args = parse(&[
            "--namespace=a",
            "--namespace",
            "b,c",
            "--metrics-addr=127.0.0.1:0",
            "--health-addr=:0",
            "--enable-leader-election=false",
            "--lease-duration=1m30s",
            "--installation-id=blue/1",
            "--sync-period=90",
            "--analysis-engine=argo",
            "--analysis-instance-id=",
            "--aws-rate-limits=off",
            "--store=dir:/srv/okra",
            "--log-format=json",
            "--aws-endpoint-url=http://127.0.0.1:5000",
            "--record=/tmp/decisions",
            "--dry-run",
            "--kubeconfig=/etc/kube",
            "--context=green",
            "--aws-settle=0",
            "--drift-interval=1h",
            "--metric-profiles=/etc/okra/profiles.yaml",
        ])
        .unwrap();
        assert_eq!(args.namespaces, ["a", "b", "c"]);
        assert_eq!(args.metrics_addr, "127.0.0.1:0".parse().unwrap());
        assert_eq!(args.health_addr, "[::]:0".parse().unwrap());
        assert!(!args.enable_leader_election && args.dry_run);
        assert_eq!(args.lease_duration, Duration::from_secs(90));
        assert_eq!(args.installation_id.as_deref(), Some("blue/1"));
        assert_eq!((args.sync_period, args.aws_settle), (Duration::from_secs(90), Duration::ZERO));
        assert_eq!(args.drift_interval, Duration::from_hours(1));
        assert_eq!((args.analysis_engine, args.aws_rate_limits), (AnalysisEngine::Argo, AwsRateLimits::Off));
        assert_eq!((args.analysis_instance_id.as_str(), args.log_format), ("", LogFormat::Json));
        assert_eq!(args.store, StoreLocation::Directory("/srv/okra".into()));
        assert_eq!(args.aws_endpoint_url.as_deref(), Some("http://127.0.0.1:5000"));
        assert_eq!((args.kubeconfig, args.context.as_deref()), (Some("/etc/kube".into()), Some("green")));
        assert_eq!(args.metric_profiles, Some("/etc/okra/profiles.yaml".into()));
    }

    #[test]
    fn switches_take_a_value_or_none() {
        for (flags, expected) in [
            (&["--enable-leader-election"][..], true),
            (&["--enable-leader-election=true"], true),
            (&["--enable-leader-election=false"], false),
            (&["--enable-leader-election", "false"], false),
        ] {
            assert_eq!(parse(flags).unwrap().enable_leader_election, expected, "{flags:?}");
        }
        assert!(!parse(&["--dry-run=false"]).unwrap().dry_run);
    }

    #[test]
    fn a_bad_value_names_its_flag_and_the_remedy() {
        let table = [
            ("--lease-duration=soon", "write a number with a unit"),
            ("--lease-duration=1s", "from 3s to 1h"),
            ("--lease-duration=", "write a number with a unit"),
            ("--sync-period=-5m", "is not a duration"),
            ("--sync-period=0", "at least 1s"),
            ("--aws-settle=1 h", "is not a duration"),
            ("--drift-interval=x", "is not a duration"),
            ("--metrics-addr=8080", "HOST:PORT"),
            ("--health-addr=:http", "is not a port"),
            ("--health-addr=:99999", "is not a port"),
            ("--store=etcd", "dir:PATH"),
            ("--store=dir:", "dir:PATH"),
            ("--log-format=xml", "text, json"),
            ("--analysis-engine=magic", "native, argo"),
            ("--aws-rate-limits=none", "aws, off"),
            ("--enable-leader-election=maybe", "--enable-leader-election"),
            ("--installation-id=a b", "at most 128"),
            ("--aws-endpoint-url=localhost:5000", "http://"),
        ];
        for (flag, remedy) in table {
            let error = parse(&[flag]).unwrap_err();
            let (name, text) = (flag.split_once('=').unwrap().0, error.to_string());
            assert_eq!(error.exit_code(), 2, "{flag}");
            assert!(text.contains(name) && text.contains(remedy), "{flag}: {text}");
        }
    }
}
