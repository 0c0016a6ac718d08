//! `make interop`: runs announcer with five routers, and prints a table; a complete run without failures writes `docs/interop.md`.
//!
//! `--router NAME` and `--only CASE` run a part, and write no file.
//!
//! ```text
//! bench    the lab: one frontend, one router, one implementation after the other
//! router   what a router has to be able to say, and a route as all of them say it
//! frr bird gobgp openbgpd exabgp   one file a router
//! cases    the rows of the table          bfd      those of BFD
//! matrix   the table, printed and kept in docs/interop.md
//! ```

mod bench;
mod bfd;
mod bird;
mod cases;
mod exabgp;
mod frr;
mod gobgp;
mod matrix;
mod openbgpd;
mod router;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::bench::Bench;
use crate::cases::GROUPS;
use crate::matrix::{Cell, Matrix};

#[derive(Default)]
struct CaseFilter {
    router: Option<String>,
    only: Option<String>,
}

fn main() -> Result<ExitCode> {
    let part = part()?;
    let bench = Bench::up()?;
    let matrix = run(&bench, &part);
    bench.down()?;
    let matrix = matrix?;
    println!("\n{}", matrix.table());
    if !matrix.good() {
        return Ok(ExitCode::FAILURE);
    }
    if part.router.is_none() && part.only.is_none() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/interop.md");
        std::fs::write(&page, matrix.page()).with_context(|| format!("{}", page.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn part() -> Result<CaseFilter> {
    let mut part = CaseFilter::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("`{word}` needs a name after it"))?;
        match word.as_str() {
            "--router" => part.router = Some(value.to_lowercase()),
            "--only" => part.only = Some(value),
            _ => bail!("`{word}` is neither `--router` nor `--only`"),
        }
    }
    Ok(part)
}

fn run(bench: &Bench, part: &CaseFilter) -> Result<Matrix> {
    let mut matrix = Matrix::default();
    for group in GROUPS {
        let cases = group
            .cases
            .iter()
            .filter(|case| part.only.as_deref().is_none_or(|only| case.name.contains(only)));
        matrix.rows.extend(cases.map(|case| (case.name, Vec::new())));
    }
    ensure!(!matrix.rows.is_empty(), "no case has this name");
    for router in router::all() {
        if part.router.as_ref().is_some_and(|name| router.name().to_lowercase() != *name) {
            continue;
        }
        let words = ["dpkg-query", "--show", "--showformat=${source:Upstream-Version}", router.package()];
        let version = bench.router()?.must(&words)?;
        println!("{} {version}", router.name());
        matrix.routers.push((router.name(), version));
        let mut row = 0;
        for group in GROUPS {
            let mut started = false;
            for case in group.cases {
                if matrix.rows.get(row).is_none_or(|(name, _)| *name != case.name) {
                    continue; // this part was not selected
                }
                let began = Instant::now();
                let cell = match router.cannot(case.name) {
                    Some(why) => Cell::Cannot(why),
                    None => {
                        let begun = if started { Ok(()) } else { bench.start(router.as_ref(), &group.setup) };
                        started = true;
                        match begun.and_then(|()| (case.run)(bench, router.as_ref(), &group.setup)) {
                            Ok(()) => Cell::Yes,
                            Err(error) => Cell::Failed(format!("{error:#}\n{}", bench.log(router.as_ref())?)),
                        }
                    }
                };
                println!("  {:52}{:>6.1} s  {}", case.name, began.elapsed().as_secs_f64(), said(&cell));
                matrix.rows[row].1.push(cell);
                row += 1;
            }
        }
        bench.stop(router.as_ref())?;
    }
    ensure!(!matrix.routers.is_empty(), "no router has this name");
    Ok(matrix)
}

fn said(cell: &Cell) -> String {
    match cell {
        Cell::Yes => "yes".to_owned(),
        Cell::Cannot(why) => format!("- {why}"),
        Cell::Failed(seen) => format!("FAILED\n    {}", seen.replace('\n', "\n    ")),
    }
}
