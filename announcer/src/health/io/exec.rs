//! The program probe: runs a program of the operator, and reads its exit code.
//!
//! Touches the clock; [`crate::program::io`] runs the program, and no process remains after its probe.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::prober::Prober;
use super::result::{self, ProbeError, ProbeSuccess};
use crate::config::kind;
use crate::config::kind::exec::{Answer, ExitCodes, Failure, Warning};
use crate::health::Target;
use crate::health::outcome::{Outcome, Shortage, TimeoutPhase};
use crate::model::ServiceName;
use crate::model::text::PrintableText;
use crate::program::io::{Programs, Runner};
use crate::program::{self, Bounds, ProgramEnd, RunAs, RunPhase, StartError};

#[cfg(test)]
mod tests;

/// How many octets of a program's output are searched for the first line.
const MOST_LINE: usize = 1024;

/// The program, and its user.
#[derive(Debug, Clone)]
pub struct ExecSpec {
    /// The program's absolute path, then its arguments.
    pub command: Vec<String>,
    /// The user; without it, the daemon's own user, or `nobody` if the daemon runs as root.
    pub user: Option<String>,
    /// `ANNOUNCER_SERVICE`.
    pub service: ServiceName,
    /// `ANNOUNCER_VIP`.
    pub vip: IpAddr,
    /// `ANNOUNCER_CHECK`: the check's name.
    pub check: String,
}

impl From<ExecSpec> for program::ProgramSpec {
    fn from(ExecSpec { command, user, service, vip, check }: ExecSpec) -> Self {
        let environment = vec![
            ("ANNOUNCER_SERVICE".into(), service.to_string()),
            ("ANNOUNCER_VIP".into(), vip.to_string()),
            ("ANNOUNCER_CHECK".into(), check),
        ];
        program::ProgramSpec { command, user: user.map_or(RunAs::Unprivileged, RunAs::User), environment }
    }
}

/// A prepared probe by one program, which can be repeated.
#[derive(Debug)]
pub struct ExecProbe {
    order: Arc<program::ProgramSpec>,
    codes: ExitCodes,
    timeout: Duration,
    runner: Runner,
}

impl ExecProbe {
    /// A probe by the program of `exec`, for a target.
    pub fn of(prober: &Prober, target: &Target, exec: &kind::exec::ExecConfig) -> Self {
        let order = ExecSpec {
            command: exec.command.iter().map(|word| word.as_str().to_owned()).collect(),
            user: exec.user.clone(),
            service: target.service.clone(),
            vip: target.vip,
            check: target.config.name.clone(),
        };
        ExecProbe::new(order, exec.exit_codes, target.config.timeout, prober.programs())
    }

    /// A probe by `order`; `timeout` is for the whole run.
    pub fn new(order: ExecSpec, codes: ExitCodes, timeout: Duration, programs: &Programs) -> Self {
        ExecProbe { order: Arc::new(order.into()), codes, timeout, runner: Runner::new(programs) }
    }

    /// Runs the program once. If the future is dropped, the program is killed.
    pub async fn probe(&self) -> Outcome {
        let start = Instant::now();
        let run = self.runner.run(&self.order, Bounds { time: self.timeout, kept: MOST_LINE }).await;
        let seen = judge(self.codes, run.end, &run.output);
        result::outcome(Ok(seen), TimeoutPhase::Exit, self.timeout, start.elapsed())
    }
}

/// The meaning of a program's end. Every exit code that does not pass is a failure, also UNKNOWN of Nagios.
fn judge(codes: ExitCodes, end: ProgramEnd, output: &[u8]) -> Result<ProbeSuccess, ProbeError> {
    let code = match end {
        ProgramEnd::Code(code) => code,
        ProgramEnd::Signal(name) => return Err(ProbeError::of(Failure::Killed(name))),
        ProgramEnd::TimedOut(RunPhase::Start) => return Err(ProbeError::TimedOut(TimeoutPhase::Start)),
        ProgramEnd::TimedOut(RunPhase::Exit) => return Err(ProbeError::TimedOut(TimeoutPhase::Exit)),
        ProgramEnd::Endless => return Err(ProbeError::of(Failure::Endless)),
        ProgramEnd::Lingering => return Err(ProbeError::of(Failure::Lingering)),
        ProgramEnd::NotStarted(error) => return Err(not_started(error)),
    };
    let line = first_line(codes, output);
    match (codes, code) {
        (ExitCodes::Zero | ExitCodes::Nagios, 0) => Ok(Answer::Exit(code).into()),
        (ExitCodes::Nagios, 1) => Ok(ProbeSuccess {
            answer: Answer::Exit(code).into(),
            warning: Some(Warning::Program(line).into()),
        }),
        (ExitCodes::Zero | ExitCodes::Nagios, _) => Err(ProbeError::of(Failure::Exit { code, line })),
    }
}

fn not_started(error: StartError) -> ProbeError {
    let not_run =
        |error: &StartError| ProbeError::of(Failure::NotRun(PrintableText::new(&error.to_string())));
    match error {
        StartError::NoProcess => ProbeError::Skip(Shortage::Processes),
        StartError::Kernel(errno) => Shortage::of(errno).map_or_else(|| not_run(&error), ProbeError::Skip),
        StartError::NoUser(name) => ProbeError::of(Failure::NoUser(PrintableText::new(&name))),
        StartError::MayNotSwitch => ProbeError::of(Failure::NotAllowed),
        StartError::Other(_)
        | StartError::NotExecutable
        | StartError::NoInterpreter(_)
        | StartError::CarriageReturn(_)
        | StartError::InterpreterDenied(_)
        | StartError::NoLoader(_)
        | StartError::NoProgram => not_run(&error),
    }
}

/// The first line of the output. For a Nagios plugin only the part for people, before `|`.
fn first_line(codes: ExitCodes, output: &[u8]) -> Option<PrintableText> {
    let text = String::from_utf8_lossy(output);
    let line = text.trim_start().lines().next()?;
    let line = match codes {
        ExitCodes::Zero => line,
        ExitCodes::Nagios => line.split('|').next().unwrap_or(line),
    };
    Some(PrintableText::new(line.trim_end())).filter(|_| !line.trim().is_empty())
}
