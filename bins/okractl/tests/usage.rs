//! What a person sees who mistypes. That these run also has the program built, which tests of other packages start.

#![allow(clippy::unwrap_used, reason = "helpers of tests are not seen as tests")]

use std::process::{Command, Output};

fn okractl(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_okractl")).args(args).output().unwrap()
}

#[test]
fn an_unknown_verb_is_a_usage_error_on_stderr() {
    let output = okractl(&["abbort", "web"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("abort"), "the verb that was meant is named: {words}");
}

#[test]
fn a_store_that_is_not_there_is_named_with_what_to_do() {
    let output = okractl(&["--store", "dir:/nowhere/at/all", "get", "cells"]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.contains("/nowhere/at/all"), "{words}");
}

#[test]
fn help_is_a_result_on_stdout() {
    let output = okractl(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("promote"));
}
