//! The table of the results, as it is printed and written to `docs/interop.md`.
//!
//! Pure.

/// The result of a case with a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    /// The case has passed.
    Yes,
    /// The router cannot do it; the text follows its name and a colon.
    Cannot(&'static str),
    /// The case has failed; with what was seen.
    Failed(String),
}

/// A column for each router, a row for each case.
#[derive(Debug, Default)]
pub(crate) struct Matrix {
    /// Names and versions of the routers.
    pub(crate) routers: Vec<(&'static str, String)>,
    /// Names of the cases, and a cell for each router.
    pub(crate) rows: Vec<(&'static str, Vec<Cell>)>,
}

const HEAD: &str = "# Interoperability\n\n\
    `make interop` runs announcer against each of these routers, as Debian 12 ships them: in the lab of\n\
    `lab/interop/interop.clab.yml`, one after the other, each with a usual configuration. The results are\n\
    read from the router's own show command or log; IPv4 and IPv6 VIPs are carried by one session. The run wrote this page.\n\n";

impl Matrix {
    /// Whether no case has failed.
    pub(crate) fn good(&self) -> bool {
        let mut cells = self.rows.iter().flat_map(|(_, cells)| cells);
        cells.all(|cell| match cell {
            Cell::Yes | Cell::Cannot(_) => true,
            Cell::Failed(_) => false,
        })
    }

    /// The page, in Markdown.
    pub(crate) fn page(&self) -> String {
        HEAD.to_owned() + &self.table()
    }

    /// The table and its footnotes.
    pub(crate) fn table(&self) -> String {
        let mut notes: Vec<(&str, &str)> = Vec::new();
        let mut lines = vec![
            std::iter::once(String::new())
                .chain(self.routers.iter().map(|(name, version)| format!("{name} {version}")))
                .collect::<Vec<_>>(),
        ];
        for (case, cells) in &self.rows {
            let mut line = vec![(*case).to_owned()];
            for (cell, (router, _)) in cells.iter().zip(&self.routers) {
                line.push(match cell {
                    Cell::Yes => "yes".to_owned(),
                    Cell::Failed(_) => "FAILED".to_owned(),
                    Cell::Cannot(why) => {
                        let known = notes.iter().position(|note| note == &(*router, *why));
                        let index = known.unwrap_or(notes.len());
                        if known.is_none() {
                            notes.push((router, why));
                        }
                        format!("- ({})", index + 1)
                    }
                });
            }
            lines.push(line);
        }
        let widths: Vec<usize> = (0..=self.routers.len())
            .map(|column| {
                lines.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for (index, line) in lines.iter().enumerate() {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} |"));
            text += &format!("|{}\n", cells.collect::<String>());
            if index == 0 {
                let rule = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2)));
                text += &format!("|{}\n", rule.collect::<String>());
            }
        }
        if !notes.is_empty() {
            text += "\n`-`: the router cannot.\n\n";
        }
        for (index, (router, why)) in notes.iter().enumerate() {
            text += &format!("{}. {router}: {why}.\n", index + 1);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_footnote_once_and_a_failure_is_seen() {
        let mut matrix = Matrix {
            routers: vec![("A", "1".into()), ("B", "2.0".into())],
            rows: vec![
                ("x", vec![Cell::Yes, Cell::Cannot("no y")]),
                ("long", vec![Cell::Yes, Cell::Cannot("no y")]),
            ],
        };
        let table = "|      | A 1 | B 2.0 |\n|------|-----|-------|\n| x    | yes | - (1) |\n| long | yes | - (1) |\n\n\
                     `-`: the router cannot.\n\n1. B: no y.\n";
        assert_eq!(matrix.table(), table);
        assert!(matrix.good());
        matrix.rows[0].1[0] = Cell::Failed("…".into());
        assert!(!matrix.good());
        assert!(matrix.table().contains("FAILED"));
    }
}
