//! Tests the commands and their output. `TRYCMD=overwrite cargo test -p announcer --test cli` records the output again.

#[test]
fn commands() {
    trycmd::TestCases::new().case("tests/cli/*.trycmd");
}
