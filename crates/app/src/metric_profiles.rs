//! Named profiles of metrics, from the file of `--metric-profiles`: where on AWS metrics are and as whom they are read,
//! and in which cluster Jobs run. An annotation chooses one, so that templates stay as Argo has them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use okra_analysis::{AwsProfile, AwsProfiles, JobPlace};
use okra_api::names::FIELD_MANAGER;
use okra_provider::{Namespaces, Store};
use okra_store::{KubernetesBackend, kubernetes::ClientOptions};
use serde::Deserialize;

/// The file's size in bytes, at most: that of a ConfigMap.
const MOST: u64 = 1 << 20;

/// What the AWS SDKs look at for the endpoint of CloudWatch, the first before the second.
const ENDPOINT_VARIABLES: [&str; 2] = ["AWS_ENDPOINT_URL_CLOUDWATCH", "AWS_ENDPOINT_URL"];

/// Profiles by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricProfiles {
    profiles: BTreeMap<String, Profile>,
    /// The folder that paths in the file start from.
    folder: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    profiles: BTreeMap<String, Profile>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    aws: Option<Aws>,
    jobs: Option<Jobs>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Aws {
    region: Option<String>,
    #[serde(rename = "roleARN")]
    role_arn: Option<String>,
    account: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jobs {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    namespace: Option<String>,
}

impl MetricProfiles {
    /// Reads the file; without one there are no profiles. An error names the field and what to write.
    pub fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let what = || format!("failed to read {} (--metric-profiles)", path.display());
        let size = fs::metadata(path).with_context(what)?.len();
        anyhow::ensure!(size <= MOST, "{}: it has more than {MOST} bytes", what());
        let text = fs::read_to_string(path).with_context(what)?;
        let profiles = parse(&text).map_err(|why| anyhow::anyhow!(why)).with_context(what)?;
        Ok(Self { profiles, folder: path.parent().map(Path::to_owned).unwrap_or_default() })
    }

    /// Where metrics of AWS are: at `endpoint_url`, else where the AWS SDK's own variables say. Every profile is named,
    /// also one that says nothing of AWS.
    pub fn aws(&self, endpoint_url: Option<String>) -> AwsProfiles {
        let variable = |name: &str| std::env::var(name).ok().filter(|url| !url.is_empty());
        let own = || ENDPOINT_VARIABLES.iter().find_map(|name| variable(name));
        let aws = |profile: &Profile| {
            let Aws { region, role_arn, account } = profile.aws.clone().unwrap_or_default();
            AwsProfile { region, role_arn, account }
        };
        let profiles = self.profiles.iter().map(|(name, profile)| (name.clone(), aws(profile)));
        AwsProfiles {
            default: AwsProfile::default(),
            profiles: profiles.collect(),
            endpoint_url: endpoint_url.or_else(own),
        }
    }

    /// Where Jobs run. Reads the kubeconfigs, and calls nothing. `here` is the cluster of the objects.
    pub async fn job_places(&self, here: Option<&JobPlace>) -> anyhow::Result<BTreeMap<String, JobPlace>> {
        let mut places = BTreeMap::new();
        for (name, profile) in &self.profiles {
            let Some(Jobs { kubeconfig, context, namespace }) = profile.jobs.clone() else { continue };
            let place = match (kubeconfig, here) {
                (Some(path), _) => {
                    let kubeconfig = Some(self.folder.join(path));
                    let client = okra_store::kubernetes::client(&ClientOptions { kubeconfig, context }).await;
                    let client =
                        client.with_context(|| format!("profiles.{name}.jobs.kubeconfig (--metric-profiles)"))?;
                    let backend = Arc::new(KubernetesBackend::new(client, FIELD_MANAGER));
                    JobPlace { store: Store::new(backend, Namespaces::All), namespace, remote: true }
                }
                (None, Some(here)) => JobPlace { namespace, ..here.clone() },
                (None, None) => anyhow::bail!(
                    "profiles.{name}.jobs (--metric-profiles): no Job can run where the objects are: name a kubeconfig"
                ),
            };
            places.insert(name.clone(), place);
        }
        Ok(places)
    }
}

fn parse(text: &str) -> Result<BTreeMap<String, Profile>, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    for (name, profile) in &file.profiles {
        let at = format!("profiles.{name}");
        if name.is_empty() || name.trim() != name {
            return Err(format!("{at}: a profile's name has no space around it and is not empty"));
        }
        if profile.aws.is_none() && profile.jobs.is_none() {
            return Err(format!("{at} says nothing: give it aws, jobs or both"));
        }
        profile.aws.as_ref().map_or(Ok(()), |aws| check_aws(aws, &format!("{at}.aws")))?;
        profile.jobs.as_ref().map_or(Ok(()), |jobs| check_jobs(jobs, &format!("{at}.jobs")))?;
    }
    Ok(file.profiles)
}

fn check_aws(aws: &Aws, at: &str) -> Result<(), String> {
    let Aws { region, role_arn, account } = aws;
    if region.is_none() && role_arn.is_none() && account.is_none() {
        return Err(format!("{at} says nothing: give it region, roleARN or account"));
    }
    // The region becomes a part of a host's name.
    let of_region = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(region) = region
        && (region.is_empty() || !region.chars().all(of_region))
    {
        return Err(format!("{at}.region: {region:?} is no region: write one like us-west-2"));
    }
    if let Some(role) = role_arn {
        let parts: Vec<&str> = role.splitn(6, ':').collect();
        let is_role = matches!(parts.as_slice(), ["arn", _, "iam", "", id, name]
            if is_account(id) && name.strip_prefix("role/").is_some_and(|name| !name.is_empty()));
        if !is_role {
            return Err(format!("{at}.roleARN: {role:?} is no role: write arn:aws:iam::111122223333:role/NAME"));
        }
    }
    match account {
        Some(id) if !is_account(id) => {
            Err(format!("{at}.account: {id:?} is no account: write its 12 digits between quotes"))
        }
        _ => Ok(()),
    }
}

fn is_account(id: &str) -> bool {
    id.len() == 12 && id.chars().all(|c| c.is_ascii_digit())
}

fn check_jobs(jobs: &Jobs, at: &str) -> Result<(), String> {
    let Jobs { kubeconfig, context, namespace } = jobs;
    if kubeconfig.is_none() && namespace.is_none() {
        return Err(format!("{at} says nothing: give it kubeconfig, namespace or both"));
    }
    if kubeconfig.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        return Err(format!("{at}.kubeconfig is empty: write the path of a kubeconfig"));
    }
    if context.is_some() && kubeconfig.is_none() {
        return Err(format!("{at}.context is one of a kubeconfig: give {at}.kubeconfig too"));
    }
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match namespace {
        Some(name) if name.is_empty() || name.len() > 63 || !name.chars().all(of_name) => {
            Err(format!("{at}.namespace: {name:?} is no namespace: write at most 63 of a-z, 0-9 and '-'"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use okra_provider::testing::{FixedClock, MemoryBackend, SeededEntropy};
    use pretty_assertions::assert_eq;

    use super::*;

    const FILE: &str = "
profiles:
  west:
    aws: {region: us-west-2, roleARN: 'arn:aws:iam::111122223333:role/metrics', account: '444455556666'}
    jobs: {kubeconfig: west.kubeconfig, context: blue, namespace: checks}
  checks:
    jobs: {namespace: checks}
";
    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://192.0.2.1'}}]
contexts: [{name: blue, context: {cluster: c, user: u}}]
users: [{name: u, user: {token: hunter2}}]
";

    fn read(text: &str) -> anyhow::Result<(tempfile::TempDir, MetricProfiles)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profiles.yaml");
        fs::write(&path, text).unwrap();
        fs::write(folder.path().join("west.kubeconfig"), KUBECONFIG).unwrap();
        let profiles = MetricProfiles::read(Some(&path))?;
        Ok((folder, profiles))
    }

    fn here() -> JobPlace {
        let backend = MemoryBackend::new(Arc::new(FixedClock::default()), Arc::new(SeededEntropy::new(1)));
        JobPlace { store: Store::new(Arc::new(backend), Namespaces::All), namespace: None, remote: false }
    }

    #[tokio::test]
    async fn profiles_are_read_with_their_kubeconfigs_beside_them() {
        crate::okrad::install_tls_provider();
        let (_folder, profiles) = read(FILE).unwrap();
        let aws = profiles.aws(None);
        let west = AwsProfile {
            region: Some("us-west-2".to_owned()),
            role_arn: Some("arn:aws:iam::111122223333:role/metrics".to_owned()),
            account: Some("444455556666".to_owned()),
        };
        assert_eq!(aws.profiles["west"], west);
        assert_eq!(aws.profiles["checks"], AwsProfile::default());
        let places = profiles.job_places(Some(&here())).await.unwrap();
        let seen: Vec<_> =
            places.iter().map(|(name, place)| (name.as_str(), place.namespace.as_deref(), place.remote)).collect();
        assert_eq!(seen, [("checks", Some("checks"), false), ("west", Some("checks"), true)]);
        let nowhere = profiles.job_places(None).await.unwrap_err();
        assert!(nowhere.to_string().contains("profiles.checks.jobs"), "{nowhere}");
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_named_and_shows_no_secret() {
        crate::okrad::install_tls_provider();
        for (from, to) in [("west.kubeconfig", "east.kubeconfig"), ("context: blue", "context: green")] {
            let (_folder, profiles) = read(&FILE.replace(from, to)).unwrap();
            let error = format!("{:#}", profiles.job_places(Some(&here())).await.unwrap_err());
            assert!(error.contains("profiles.west.jobs.kubeconfig"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_bad_field_is_named_with_what_to_write() {
        let table = [
            ("profiles: {a: {}}", "profiles.a says nothing: give it aws, jobs or both"),
            ("profiles: {a: {aws: {}}}", "profiles.a.aws says nothing"),
            ("profiles: {a: {aws: {region: us_west}}}", "profiles.a.aws.region: \"us_west\" is no region"),
            ("profiles: {a: {aws: {region: 'x.evil.org/'}}}", "write one like us-west-2"),
            ("profiles: {a: {aws: {roleARN: metrics}}}", "write arn:aws:iam::111122223333:role/NAME"),
            ("profiles: {a: {aws: {roleARN: 'arn:aws:iam::12:role/x'}}}", "profiles.a.aws.roleARN"),
            ("profiles: {a: {aws: {account: '12'}}}", "write its 12 digits between quotes"),
            ("profiles: {a: {aws: {regoin: x}}}", "regoin"),
            ("profiles: {a: {jobs: {}}}", "profiles.a.jobs says nothing"),
            ("profiles: {a: {jobs: {kubeconfig: ''}}}", "write the path of a kubeconfig"),
            ("profiles: {a: {jobs: {context: b, namespace: c}}}", "give profiles.a.jobs.kubeconfig too"),
            ("profiles: {a: {jobs: {namespace: C}}}", "profiles.a.jobs.namespace"),
            ("profiles: {' a': {jobs: {namespace: c}}}", "no space around it"),
            ("profile: {}", "profile"),
        ];
        for (text, message) in table {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(message) && error.contains("--metric-profiles"), "{text}: {error}");
        }
    }
}
