//! Unknown keys, tables and characters, and tables in another form.

use super::BadCase;
use crate::config::tests::GOOD;

pub(super) const CASES: &[BadCase] = &[
    ("an unknown key that is close", &[("settle =", "setle =")]),
    ("an unknown key of another table", &[("settle = \"1s\"", "interval = \"1s\"")]),
    ("an unknown key far from all", &[("settle =", "colour =")]),
    ("a synonym of a required key", &[("asn = 65000", "remote-as = 65000")]),
    ("a synonym of a check's kind", &[("http = ", "url = ")]),
    ("a word that announcer has nothing for", &[("port = 179", "maximum_prefix = 9")]),
    ("an unknown key of a long table", &[("rise = 2", "rising = 2")]),
    ("an unknown table", &[("[[peer]]", "[[neighbours]]")]),
    ("an unknown table that is close", &[("[bgp]", "[bpg]")]),
    ("a table below the wrong one", &[("[[service.check]]", "[[check]]")]),
    ("a table without brackets", &[("[bgp]", "peer = 1\n[bgp]"), ("[[peer]]", "[x]")]),
    ("one bracket for two", &[("[[peer]]", "[peer]")]),
    ("a table's header left out", &[("[[service]]\nname", "[[service.check]]\nname")]),
    ("two brackets for one", &[("[bgp]", "[[bgp]]")]),
    ("an array of other things", &[("[bgp]", "peer = [1]\n[bgp]"), ("[[peer]]", "[x]")]),
    ("an empty file", &[(GOOD, "")]),
    ("no table but one", &[(GOOD, "[bgp]\nasn = 1\n")]),
    ("empty tables", &[(GOOD, "service = []\nbgp = {}\n[[peer]]\n[[peer]]\n")]),
    ("an empty service and an empty check", &[("med = 100\n", "\n[[service]]\n[[service.check]]\n")]),
    // H18.
    (
        "a no-break space before a key, behind one",
        &[("settle =", "\u{a0}settle ="), ("port =", "port\u{a0}=")],
    ),
    ("a no-break space before a value", &[("\"1s\"", "\u{a0}\"1s\"")]),
    ("a no-break space before a header", &[("[[peer]]", "\u{a0}[[peer]]")]),
    (
        "a zero width space, a byte order mark within",
        &[("settle =", "settle\u{200b} ="), ("port =", "\u{feff}port =")],
    ),
    ("typographic quotation marks", &[("\"1s\"", "“1s”"), ("\"r1\"", "„r1“")]),
];
