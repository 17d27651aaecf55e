//! The `codejury` command: arguments become one validated configuration, then a library call.
//!
//! `args` is what can be typed, `config` what it means, each command has a file of its own.
//! Results go to standard output or files, talk goes to standard error, and how a command ends is
//! one table in `exit`.

// Doc comments of arguments are what `--help` prints, in which `<dataset>` is no HTML.
#![allow(rustdoc::invalid_html_tags)]

mod args;
mod backend;
mod bench;
mod check;
mod classify;
mod compare;
mod completions;
mod config;
mod dataset;
mod doctor;
mod eval;
mod eval_args;
mod exit;
mod handoff;
mod interrupt;
mod judge;
mod manifest;
mod output;
mod progress;
mod run;
mod serve;
mod summary;
mod track;
mod units;
mod wasm;

use std::io;

use clap::Parser as _;

use crate::args::{Arguments, Command};
use crate::exit::ExitCode;
use crate::output::{Palette, say};

fn main() -> std::process::ExitCode {
    backend::serve_as_worker();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => {
            // Also help and version, which are no errors. Where nobody reads, nothing is lost.
            let _ = usage.print();
            return if usage.use_stderr() {
                ExitCode::BadInput
            } else {
                ExitCode::Done
            }
            .into();
        }
    };
    execute(arguments.command)
        .unwrap_or_else(|error| {
            say(exit::describe(&error, Palette::of(&io::stderr())));
            exit::code_of(&error)
        })
        .into()
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    interrupt::install()?;
    match command {
        Command::Judge(args) => judge::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Dataset(command) => dataset::run(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Classify(args) => classify::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Watch(args) => eval::watch(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Handoff(command) => handoff::run(&command),
        Command::Export(command) => track::run(&command),
        Command::Config(args) => eval::config(&args),
        Command::Wasm(command) => wasm::run(&command),
        Command::Guard(args) => eval::guard(&args),
    }
}
