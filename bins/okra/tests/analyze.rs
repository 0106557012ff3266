//! `okra analyze`, as a CI job or a person who writes a template runs it: without a cluster, against a web server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are not seen as tests")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};

use pretty_assertions::assert_eq;
use serde_json::Value;
use tempfile::TempDir;

const TOKEN: &str = "hunter2-and-more";
const WITHIN: Duration = Duration::from_mins(1);

/// A metric server that lives as long as the test's process, and tells each path that it is asked for.
struct Metrics {
    address: SocketAddr,
    asked: Receiver<String>,
}

impl Metrics {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let tell = tell.clone();
                std::thread::spawn(move || answer(stream, &tell));
            }
        });
        Self { address, asked }
    }
}

fn answer(mut stream: TcpStream, tell: &Sender<String>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    stream.set_read_timeout(Some(WITHIN)).unwrap();
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let _gone = tell.send(path.clone());
    let body = match path.as_str() {
        "/good" => r#"{"rate": 0.99}"#.to_owned(),
        "/bad" => r#"{"rate": 0.31}"#.to_owned(),
        "/nan/api/v1/query" => {
            r#"{"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1, "NaN"]}]}}"#
                .to_owned()
        }
        // Says back what it was asked with.
        "/echo" => serde_json::to_string(&serde_json::json!({"head": head, "rate": 0.99})).unwrap(),
        _ => {
            // Hangs until the other side gives up.
            let _nothing = stream.read(&mut byte);
            return;
        }
    };
    let length = body.len();
    let _gone = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// A folder with a template in it.
struct Folder {
    folder: TempDir,
    metrics: Metrics,
}

impl Folder {
    /// With one metric, whose fields are given; `URL` stands for the server.
    fn with(metric: &str) -> Self {
        let folder = Self { folder: TempDir::with_prefix("okra-analyze-").unwrap(), metrics: Metrics::start() };
        let template = format!(
            "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata: {{name: rate}}\nspec:\n  args:\n  - \
             {{name: path, value: good}}\n  - name: token\n    valueFrom: {{secretKeyRef: {{name: api, key: token}}}}\n  \
             metrics:\n  - {metric}\n"
        );
        folder.write("template.yaml", &template);
        folder
    }

    /// With a web metric for the path that argument `path` names.
    fn web(more: &str) -> Self {
        Self::with(&format!(
            "{{name: rate, successCondition: result.rate > 0.9, {more} provider: {{web: {{url: 'URL/{{{{args.path}}}}', \
             timeoutSeconds: 1, headers: [{{key: X-Token, value: '{{{{args.token}}}}'}}]}}}}}}"
        ))
    }

    fn write(&self, name: &str, text: &str) {
        let text = text.replace("URL", &format!("http://{}", self.metrics.address));
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_okra"));
        command.env_clear().env("TOKEN", TOKEN).current_dir(self.folder.path());
        command.args(["analyze", "-f", "template.yaml"]).args(args);
        command
    }

    fn analyze(&self, args: &[&str]) -> Ran {
        let output = self.command(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let ran = Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        for text in [&ran.out, &ran.err] {
            assert!(!text.contains(TOKEN), "the secret is printed: {text}");
        }
        ran
    }
}

/// The lines without the time that each measurement begins with.
fn lines(out: &str) -> Vec<String> {
    let untimed = |line: &str| match line.split_once("  ") {
        Some((time, rest)) if time.len() == 8 => rest.to_owned(),
        _ => line.to_owned(),
    };
    out.lines().map(untimed).collect()
}

const TOKEN_FROM_ENV: [&str; 2] = ["--arg-from-env", "token=TOKEN"];

#[test]
fn a_good_metric_is_0_and_a_bad_one_is_1() {
    let folder = Folder::web("interval: 1s, count: 2,");
    let ran = folder.analyze(&TOKEN_FROM_ENV);
    let measured = r#"rate  Successful    {"rate":0.99}"#;
    assert_eq!(lines(&ran.out), [measured, measured, "rate is Successful"], "{}", ran.err);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));

    let ran = folder.analyze(&["--arg", "path=bad", "--arg-from-env", "token=TOKEN"]);
    let verdict = "rate is Failed: Metric \"rate\" assessed Failed due to failed (1) > failureLimit (0)";
    assert_eq!(lines(&ran.out), [r#"rate  Failed        {"rate":0.31}"#, verdict], "{}", ran.err);
    assert_eq!(ran.code, Some(1));
}

#[test]
fn neither_good_nor_bad_is_4() {
    let folder = Folder::web("failureCondition: result.rate < 0.1,");
    let ran = folder.analyze(&["--arg", "path=bad", "--arg-from-env", "token=TOKEN"]);
    assert_eq!(ran.code, Some(4), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("rate is Inconclusive"), "{}", ran.out);
}

#[test]
fn what_cannot_be_measured_is_5() {
    let folder = Folder::web("consecutiveErrorLimit: 0,");
    let ran = folder.analyze(&["--arg", "path=hang", "--arg-from-env", "token=TOKEN"]);
    assert_eq!(ran.code, Some(5), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("rate  Error ") && ran.out.contains("rate is Error"), "{}", ran.out);

    // NaN meets no condition; with a failure condition alone Argo Rollouts would let it pass.
    let folder = Folder::with(
        "{name: nan, failureCondition: 'result[0] < 0.5', consecutiveErrorLimit: 0, provider: {prometheus: {address: \
         URL/nan, query: up}}}",
    );
    let ran = folder.analyze(&TOKEN_FROM_ENV);
    assert_eq!(ran.code, Some(5), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("metric result is NaN"), "{}", ran.out);
}

#[test]
fn secrets_come_from_everywhere_and_are_printed_nowhere() {
    let folder = Folder::web("");
    folder.write("token.txt", &format!("{TOKEN}\n"));
    folder.write(
        "secret.yaml",
        &format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: api}}\nstringData: {{token: {TOKEN}}}\n"),
    );
    let plain = format!("token={TOKEN}");
    let echo = ["--arg", "path=echo", "-o", "json"];
    for given in [
        ["--arg-from-env", "token=TOKEN"],
        ["--arg-from-file", "token=token.txt"],
        ["-f", "secret.yaml"],
        ["--arg", plain.as_str()],
    ] {
        let ran = folder.analyze(&[&echo[..], &given[..]].concat());
        assert_eq!(ran.code, Some(0), "{given:?}: {}{}", ran.out, ran.err);
        let run: Value = serde_json::from_str(&ran.out).unwrap();
        let value = run["status"]["metricResults"][0]["measurements"][0]["value"].as_str().unwrap();
        assert!(value.contains("*****"), "the server got the token: {value}");
        assert!(ran.err.contains("rate  Successful"), "measurements are told meanwhile: {}", ran.err);
    }
}

#[test]
fn mistakes_are_2_and_say_what_to_do() {
    let folder = Folder::web("");
    folder.write("broken.yaml", "a: [");
    folder.write(
        "other.yaml",
        "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata: {name: other}\nspec: {}\n",
    );
    for (args, words) in [
        (&["--arg", "paht=good"][..], "the template has no argument paht: it has path, token"),
        (&["--arg", "path=good", "--arg", "path=bad"], "argument path is given twice"),
        (&["--arg", "path"], "write NAME=VALUE"),
        (&["--arg-from-env", "token=NOT_SET"], "environment variable NOT_SET is not set"),
        (&[], "secrets \"api\" not found: there is no cluster"),
        (&["-f", "nowhere.yaml"], "failed to read nowhere.yaml"),
        (&["-f", "broken.yaml"], "failed to parse broken.yaml"),
        (&["-f", "other.yaml"], "choose with --template-name"),
        (&["--template-name", "nope"], "there is no template nope"),
        (&["-f", "other.yaml", "--template-name", "other"], "no metrics specified"),
        (&["--metric-egress-deny", "here"], "bad range"),
    ] {
        let ran = folder.analyze(args);
        assert!(ran.code == Some(2) && ran.err.contains(words), "{args:?}: {:?} {}{}", ran.code, ran.out, ran.err);
    }
    let folder = Folder::with("{name: job, provider: {job: {spec: {}}}}");
    let ran = folder.analyze(&TOKEN_FROM_ENV);
    assert!(ran.code == Some(2) && ran.err.contains("metric job is a Job, which needs a cluster"), "{}", ran.err);
}

#[test]
fn templates_that_refer_to_each_other_are_one_run() {
    let folder = Folder::web("");
    let base = "apiVersion: argoproj.io/v1alpha1\nkind: ClusterAnalysisTemplate\nmetadata: {name: base}\nspec:\n  metrics: \
                [{name: base, provider: {web: {url: URL/bad}}}]\n";
    let both = "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata: {name: both}\nspec:\n  templates: \
                [{templateName: rate}, {templateName: base, clusterScope: true}]\n";
    folder.write("more.yaml", &format!("{base}---\n{both}"));
    let ran = folder.analyze(&["-f", "more.yaml", "--arg-from-env", "token=TOKEN"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert_eq!(lines(&ran.out).last().unwrap(), "both is Successful");
    let mut paths: Vec<String> = folder.metrics.asked.try_iter().collect();
    paths.sort();
    assert_eq!(paths, ["/bad", "/good"]);
}

#[test]
fn the_timeout_ends_what_has_no_end_and_refuses_what_is_not_done() {
    let folder = Folder::web("interval: 1s,");
    let ran = folder.analyze(&["--timeout", "3s", "--arg-from-env", "token=TOKEN"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert_eq!(lines(&ran.out).last().unwrap(), "rate is Successful: Run Terminated");
    assert!(folder.metrics.asked.try_iter().count() >= 1);

    let folder = Folder::web("interval: 1h, count: 2,");
    let ran = folder.analyze(&["--timeout", "2s", "--arg-from-env", "token=TOKEN"]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("no verdict of rate: not done within 2s"), "{}", ran.err);
}

#[test]
fn this_machine_is_asked_unless_it_is_denied() {
    let folder = Folder::web("consecutiveErrorLimit: 0,");
    let ran = folder.analyze(&["--metric-egress-deny", "127.0.0.0/8", "--arg-from-env", "token=TOKEN"]);
    assert!(ran.code == Some(5) && ran.out.contains("egress to 127.0.0.1 is denied"), "{}{}", ran.out, ran.err);
    assert_eq!(folder.metrics.asked.try_iter().count(), 0);
    let metadata = Folder::with(
        "{name: m, consecutiveErrorLimit: 0, provider: {web: {url: 'http://169.254.169.254/latest/meta-data'}}}",
    );
    let ran = metadata.analyze(&TOKEN_FROM_ENV);
    assert!(ran.code == Some(5) && ran.out.contains("is a link-local address"), "{}{}", ran.out, ran.err);
}

#[test]
fn ctrl_c_ends_it_at_once() {
    let endless = Folder::with("{name: slow, interval: 1s, provider: {web: {url: URL/hang, timeoutSeconds: 600}}}");
    let mut command = endless.command(&["--arg-from-env", "token=TOKEN"]);
    let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(endless.metrics.asked.recv_timeout(WITHIN).unwrap(), "/hang");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut told = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(told.next().unwrap().unwrap(), "metric slow has no count: it is measured until Ctrl-C");
    assert_eq!(told.next().unwrap().unwrap(), "ended by a person: no verdict");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
