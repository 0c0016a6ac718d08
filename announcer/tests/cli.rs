//! What a person types, and what they see. Recorded anew by `TRYCMD=overwrite cargo test -p announcer --test cli`.

#[test]
fn commands() {
    trycmd::TestCases::new().case("tests/cli/*.trycmd");
}
