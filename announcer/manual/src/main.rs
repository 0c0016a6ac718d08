//! `manual DIR`: writes the man pages and shell completions of both programs, from the code that they describe.
//!
//! ```text
//! DIR/man8/announcer.8, announcer-*.8, dsr-setup.8, dsr-setup-*.8      from clap
//! DIR/man5/announcer.toml.5                                            from the configuration's list of keys
//! DIR/completions/{bash,zsh,fish}/…                                    from clap
//! ```

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")
)]

mod pages;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory, Parser};
use clap_complete::{Shell, generate_to};

/// Writes the man pages and shell completions of announcer and dsr-setup.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder to write them in; what it held before is gone.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

fn main() -> Result<()> {
    let dir = Arguments::parse().dir;
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot empty `{}`", dir.display()))?;
    }
    for program in [announcer::cli::Arguments::command(), dsr_setup::cli::Cli::command()] {
        commands(&dir.join("man8"), program.clone())?;
        completions(&dir.join("completions"), program)?;
    }
    write(&dir.join("man5"), "announcer.toml.5", &pages::configuration()?)
}

/// Writes a page for a program, one for each of its subcommands that `--help` lists, and one for each of theirs. They go directly into
/// `dir`.
fn commands(dir: &Path, program: Command) -> Result<()> {
    let mut program = program.disable_help_subcommand(true);
    program.build(); // gives each subcommand its display name, such as `announcer-run`
    let subcommands: Vec<Command> =
        program.get_subcommands().filter(|one| !one.is_hide_set()).cloned().collect();
    for subcommand in &subcommands {
        let inner: Vec<Command> = subcommand
            .get_subcommands()
            .filter(|one| !one.is_hide_set() && one.get_name() != "help")
            .cloned()
            .collect();
        for one in &inner {
            let text = pages::command(one.clone(), program.get_name(), &[])?;
            write(dir, &pages::file_name(one), &text)?;
        }
        let text = pages::command(subcommand.clone(), program.get_name(), &inner)?;
        write(dir, &pages::file_name(subcommand), &text)?;
    }
    write(
        dir,
        &pages::file_name(&program),
        &pages::command(program.clone(), program.get_name(), &subcommands)?,
    )
}

/// Writes the completions of a program, one file for each shell, into a folder of `dir` with the shell's name.
fn completions(dir: &Path, mut program: Command) -> Result<()> {
    let name = program.get_name().to_owned();
    for (shell, folder) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let dir = dir.join(folder);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
        let written = generate_to(shell, &mut program, &name, &dir)?;
        if shell == Shell::Bash {
            fs::rename(&written, dir.join(&name)).context("bash-completion looks for the program's name")?;
        }
    }
    Ok(())
}

/// Writes a file, and makes its folder if it does not exist.
fn write(dir: &Path, name: &str, text: &[u8]) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    let path = dir.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write `{}`", path.display()))
}
