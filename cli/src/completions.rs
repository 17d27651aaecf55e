//! `codejury completions`: scripts that complete the command line in a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::{Arguments, CompletionsArgs, ShellChoice};
use crate::exit::ExitCode;
use crate::output;

pub(crate) fn run(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let shell = match args.shell {
        ShellChoice::Bash => Shell::Bash,
        ShellChoice::Zsh => Shell::Zsh,
        ShellChoice::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "codejury", &mut script);
    output::print(script)?;
    Ok(ExitCode::Done)
}
