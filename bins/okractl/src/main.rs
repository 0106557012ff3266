//! The command line of Okra for people. All of it is in `okra-cli`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    okra_cli::okractl().await
}
