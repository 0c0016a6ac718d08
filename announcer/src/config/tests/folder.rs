//! Tests a configuration of several files.

use super::*;

/// The configuration of a main file and the files `conf.d/a.toml`, `conf.d/b.toml` and so on.
fn of_files(main: &str, others: &[&str]) -> Result<Config, ConfigErrors> {
    let others = others.iter().zip('a'..).map(|(text, name)| (format!("conf.d/{name}.toml"), (*text).into()));
    let main = ("announcer.toml".to_owned(), main.into());
    parse_sources(&Sources::of_octets(std::iter::once(main).chain(others)), |_| Ok(()))
}

const API: &str =
    "# the API\n[[service]]\nname = \"api\"\nvips = [\"192.0.2.81\"]\n[[service.check]]\ntcp = 443\n";
const MAIL: &str = "[[service]]\nname = \"mail\"\nvips = [\"192.0.2.25\"]\n[[service.check]]\ntcp = 25\n";

#[test]
fn several_files_are_one_configuration() {
    let split = of_files(GOOD, &[API, "", MAIL]).unwrap_or_else(|errors| panic!("{errors}"));
    let joined = parse("x", &[GOOD, API, MAIL].join("\n")).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(split, joined);
    let names: Vec<&str> = split.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["www", "api", "mail"]);
    let (above, _) = GOOD.split_once("[[service]]").unwrap();
    assert_eq!(of_files(above, &[API]).map(|config| config.services.len()).unwrap_or_default(), 1);
    assert_eq!(of_files(&format!("service = []\n{above}"), &[API]).unwrap().services.len(), 1);
    let inline = "service = [{ name = 'api', vips = ['192.0.2.81'], check = [{ tcp = 443 }] }]";
    assert_eq!(of_files(above, &[inline]).unwrap(), of_files(above, &[API]).unwrap());
}

#[test]
fn the_defaults_of_the_main_file_are_for_the_services_of_all_files() {
    let config = of_files(&format!("{GOOD}[defaults.check]\nrise = 9\n"), &[API]).unwrap();
    assert_eq!(config.services[1].checks[0].rise, 9);
}

#[test]
fn each_error_has_its_file_with_line_and_column() {
    let mut out = String::new();
    let duplicate = API.replace("\"api\"", "\"www\"").replace(".81", ".80");
    for (title, main, others) in [
        (
            "only services",
            GOOD,
            &["[bgp]\nasn = 1\n[[peer]]\nname = 'x'\n[hooks]\n[defaults.check]\nrise = 1\n", "rise = 1"][..],
        ),
        (
            "unknown tables",
            GOOD,
            &[
                "[[services]]\nname = 'x'\n[zzz]\n[bpg]\nasn = 1\n",
                "[servce]\nname = 'x'\n[[check]]\ntcp = 80\n",
            ],
        ),
        (
            "a wrong value",
            GOOD,
            &[API, "[[service]]\nname = \"b\"\nvips = [\"10.0.0.300\"]\n[[service.check]]\ntcp = 25\n"],
        ),
        ("named twice in two files", GOOD, &[API, &duplicate]),
        (
            "a syntax error in each",
            &GOOD.replace("asn = 65001", "asn 65001"),
            &["[[service]\n", API, "x = \n"],
        ),
        ("a missing table is missing in the main file", "[[peer]]\n", &[API]),
        (
            "one service table",
            GOOD,
            &["[service]\nname = 'x'\n", "[[service.check]]\ntcp = 1\n", "service = 1"],
        ),
        ("no text", GOOD, &["# \u{fc}\n", "\u{feff}[[service]]\nname = 'x'\n"]),
    ] {
        let errors = of_files(main, others).unwrap_err();
        out += &format!("--- {title}\n{errors}\n");
        for error in errors.iter() {
            out += &format!("{}:{}:{}: {}\n", error.file, error.line, error.column, error.message);
        }
    }
    expect_file!["folder.txt"].assert_eq(&out);
}

#[test]
fn a_file_that_is_no_text_is_named_and_the_others_are_read() {
    let files = [("announcer.toml", b"x".to_vec()), ("conf.d/a.toml", b"[[service]]\n\xfc".to_vec())];
    let sources = Sources::of_octets(files.map(|(name, octets)| (name.to_owned(), octets)));
    let errors = parse_sources(&sources, |_| Ok(())).unwrap_err();
    let found: Vec<(&str, usize)> = errors.iter().map(|error| (error.file, error.line)).collect();
    assert_eq!(found, [("announcer.toml", 1), ("conf.d/a.toml", 2)]);
}
